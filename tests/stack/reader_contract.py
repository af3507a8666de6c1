"""What every reader of stacks must keep to: inherit, and say how an independent program writes such files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_emgauss._errors import EmgaussError, StackError, VoxelSizeError
from napari_emgauss.stack import input_formats, read_stack, read_voxel_size

VOXEL_SIZE = (50.0, 4.5, 4.25)
"""In nm, different along each axis."""
EVERY_TYPE = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
# Three different lengths each, odd ones and such as fit no block.
SHAPES = ((3, 4, 5), (9, 17, 22), (5, 7, 31))


@dataclass(frozen=True)
class Variant:
    """One way in which such a file can be written.

    Parameters
    ----------
    write : callable
        ``(folder, values) -> path``: values ``(z, y, x)`` by an independent program, with `VOXEL_SIZE`.
    types : tuple of str
        Types that the format can hold this way.
    tells_size : bool
        Whether the file can say its voxel size.
    options : dict
        What ``read_stack`` must be told.
    """

    write: Callable[[Path, NDArray[Any]], Path]
    types: tuple[str, ...] = EVERY_TYPE
    tells_size: bool = True
    options: dict[str, Any] = field(default_factory=dict)


def values_of(kind: str, shape: tuple[int, int, int] = SHAPES[1]) -> NDArray[Any]:
    """Numbers over the whole range of a type, the ends of it in opposite corners."""
    dtype, rng = np.dtype(kind), np.random.default_rng(sum(shape))
    if dtype.kind == "f":
        return (rng.standard_normal(shape) * 100).astype(dtype)
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    values[0, 0, 0], values[-1, -1, -1] = limits.min, limits.max
    return values


class ReaderContract:
    """``name`` is that of a row of the registry; ``variants`` are the ways in which such files are written."""

    name: ClassVar[str]
    variants: ClassVar[dict[str, Variant]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each variant with each of its types, shapes, or once."""
        if "kind" in metafunc.fixturenames:
            pairs = [(name, kind) for name, variant in self.variants.items() for kind in variant.types]
            metafunc.parametrize(("variant", "kind"), pairs)
        elif "variant" in metafunc.fixturenames:
            metafunc.parametrize("variant", list(self.variants))

    def read(self, path: Path, variant: Variant) -> Any:
        size = {} if variant.tells_size else {"voxel_size_nm": VOXEL_SIZE}
        return read_stack(path, **size, **variant.options)

    def written(self, folder: Path, variant: Variant, values: NDArray[Any]) -> Path:
        folder.mkdir(exist_ok=True)
        return variant.write(folder, values)

    def test_its_row_is_in_the_registry(self) -> None:
        assert self.name in {row.name for row in input_formats()}

    def test_every_type_comes_back_bit_for_bit(self, tmp_path: Path, variant: str, kind: str) -> None:
        way, values = self.variants[variant], values_of(kind)
        stack = self.read(self.written(tmp_path / "a", way, values), way)
        assert stack.slices.dtype == values.dtype
        assert np.asarray(stack.slices[:]).tobytes() == values.tobytes()
        np.testing.assert_allclose((stack.z_nm[1], *stack.pixel_size_nm), VOXEL_SIZE, rtol=1e-6)

    def test_every_size_comes_back(self, tmp_path: Path, variant: str) -> None:
        way = self.variants[variant]
        for number, shape in enumerate(SHAPES):
            values = values_of(way.types[-1], shape)
            stack = self.read(self.written(tmp_path / str(number), way, values), way)
            np.testing.assert_array_equal(np.asarray(stack.slices[:]), values)

    def test_parts_are_parts_of_the_whole(self, tmp_path: Path, variant: str) -> None:
        way = self.variants[variant]
        values = values_of(way.types[0])
        slices = self.read(self.written(tmp_path / "a", way, values), way).slices
        for key in (
            4,
            (-1, slice(3, 11)),
            (8, slice(2, 16, 3), slice(None, None, -2)),
            (slice(6, 1, -2), slice(None, 4), slice(-5, None)),
            (2, 5, 7),
            (slice(0, 0),),
            (1, slice(9, 3), slice(None)),
        ):
            np.testing.assert_array_equal(slices[key], values[key])

    def test_slices_travel_to_another_process(self, tmp_path: Path, variant: str) -> None:
        way = self.variants[variant]
        values = values_of(way.types[0])
        stack = self.read(self.written(tmp_path / "a", way, values), way)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack)).slices[3], values[3])

    def test_the_voxel_size_is_told_or_asked_for(self, tmp_path: Path, variant: str) -> None:
        way = self.variants[variant]
        path = self.written(tmp_path / "a", way, values_of(way.types[0]))
        if way.tells_size:
            size = read_voxel_size(path, dataset=way.options.get("dataset"))
            np.testing.assert_allclose((size.z_nm, size.y_nm, size.x_nm), VOXEL_SIZE, rtol=1e-6)
            assert size.source != "unknown"
        else:
            with pytest.raises(VoxelSizeError, match="voxel_size_nm"):
                read_stack(path, **way.options)

    def test_a_file_that_is_cut_off_is_refused(self, tmp_path: Path, variant: str) -> None:
        way = self.variants[variant]
        path = self.written(tmp_path / "a", way, values_of(way.types[0]))
        if path.is_dir():
            files = [file for file in path.rglob("*") if file.is_file()]
            path = max(files, key=lambda file: (file.stat().st_size, file))
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5])
        with pytest.raises(EmgaussError) as told:
            stack = self.read(self._of(tmp_path / "a", path, way), way)
            np.asarray(stack.slices[:])
        assert "\n" not in str(told.value)

    def _of(self, folder: Path, damaged: Path, way: Variant) -> Path:
        """What the user names, of which ``damaged`` is a part."""
        return damaged if damaged.parent == folder else folder / damaged.relative_to(folder).parts[0]

    def test_what_is_of_another_format_is_refused(self, tmp_path: Path) -> None:
        row = next(row for row in input_formats() if row.name == self.name)
        for ending in row.endings:
            path = tmp_path / f"a{ending}"
            if row.kind == "folder":
                path.mkdir()
                for mark in row.marks:
                    (path / mark).write_bytes(b"\x00 this is nothing of the kind")
            else:
                path.write_bytes(b"\x00 this is nothing of the kind" * 100)
            with pytest.raises(StackError) as told:
                read_stack(path, voxel_size_nm=VOXEL_SIZE)
            assert "\n" not in str(told.value)
