"""What every format out must keep to: inherit, name the format and read it with somebody else's reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_emgauss import ProgressUpdate
from napari_emgauss._errors import ConfigError, ExportError
from napari_emgauss.stack import Frame, Normalisation, Stack, record_own_slices
from napari_emgauss.volume import ExportPlan, export, export_format, plan_export, repair
from napari_emgauss.volume.formats import _registry

DTYPES = (
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
)


class KnownVolume:
    """A model whose slices are the planes of an array, 5 nm apart."""

    z_nm = np.array([100.0, 110.0, 120.0])
    pixel_size_nm = (4.0, 3.0)
    version, confidence = 0, None
    provenance: ClassVar[dict[str, Any]] = {}

    def __init__(self, dtype: str, in_plane: tuple[int, int] = (6, 7), channels: int = 1) -> None:
        self.dtype = np.dtype(dtype)
        self.channels = channels
        self.shape = (3, *in_plane)
        self.rendered = 0
        self.values = _values(self.dtype, (5, *([channels] if channels > 1 else []), *in_plane))

    def render(self, z_nm: Any, *, region: Any = None, shape: Any = None) -> NDArray[Any]:
        self.rendered += 1
        return self.values[np.rint((np.atleast_1d(z_nm) - 100) / 5).astype(int)]


def plan_of(model: Any, path: Path, **more: Any) -> ExportPlan:
    """What an export of a model would write."""
    about = {"dtype": model.dtype, "channels": model.channels, "provenance": model.provenance}
    return plan_export(Frame.of(model), path, **about, **more)


def _values(dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Random bits, with both ends of the type's range among them."""
    rng = np.random.default_rng(5)
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    if dtype.kind in "iu":
        values = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    else:
        values = rng.normal(0, 100, shape).astype(dtype)
    values.flat[0], values.flat[-1] = limits.min, limits.max
    return values


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Cancelled(Exception):
    """Raised by a progress callback."""


class WriterContract:
    """Inherited once for each row of the registry."""

    format: ClassVar[str]

    def read(self, path: Path) -> tuple[NDArray[Any], tuple[float, float, float]]:
        """Grey values ``(Z, Y, X)`` or ``(Z, C, Y, X)`` and the voxel size ``(z, y, x)`` in nm, read independently."""
        raise NotImplementedError

    @property
    def row(self) -> Any:
        return export_format(self.format)

    def target(self, folder: Path) -> Path:
        return folder / f"a volume µ{self.row.ending}"

    def write(self, model: KnownVolume, folder: Path, **options: Any) -> Path:
        return export(model, self.target(folder), spacing_nm=5, format=self.format, **options)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_values_come_back_bit_for_bit_or_are_refused_before(self, tmp_path: Path, dtype: str) -> None:
        model = KnownVolume(dtype)
        held = self.row.dtypes if self.row.instead is None else export_format(self.row.instead).dtypes
        widened = [name for name in held if np.can_cast(dtype, name, "safe")]
        if dtype == "float64" and dtype not in held and "float32" in held:
            model.values = np.clip(model.values, -1e30, 1e30).astype(np.float32).astype(np.float64)
            widened = ["float32"]
        if not widened:
            with pytest.raises(ConfigError, match=f"cannot hold grey values of type {dtype}"):
                self.write(model, tmp_path)
            assert (model.rendered, files_in(tmp_path)) == (0, {})
            return
        values, _ = self.read(self.write(model, tmp_path))
        assert values.dtype.newbyteorder("=") == (dtype if dtype in held else widened[0])
        np.testing.assert_array_equal(values, model.values)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_own_slices_are_kept_bit_for_bit_or_refused_before(self, tmp_path: Path, dtype: str) -> None:
        model, own = KnownVolume(dtype), _values(np.dtype(dtype), (3, 6, 7))[:, ::-1].copy()
        normalisation = Normalisation(0, 1, dtype)
        stack = Stack(own, model.z_nm, (4.0, 3.0), normalisation, damage=np.zeros(own.shape, bool))
        stack.damage[1, 2, 3] = True  # type: ignore[index]
        held = self.row.dtypes if self.row.instead is None else export_format(self.row.instead).dtypes
        if not any(np.can_cast(dtype, name, "safe") for name in held):
            with pytest.raises(ConfigError, match=f"grey values of type {dtype}"):
                self.write(model, tmp_path, look="exact", stack=stack)
            assert (model.rendered, files_in(tmp_path)) == (0, {})
            return
        values, _ = self.read(self.write(model, tmp_path, look="exact", stack=stack))
        np.testing.assert_array_equal(values[[0, 4]], own[[0, 2]])
        np.testing.assert_array_equal(values[[1, 3]], model.values[[1, 3]])
        damaged = stack.damage[1] != 0  # type: ignore[index]
        np.testing.assert_array_equal(values[2][~damaged], own[1][~damaged])
        np.testing.assert_array_equal(values[2][damaged], model.values[2][damaged])

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
    def test_a_repaired_stack_keeps_good_pixels_bit_for_bit(self, tmp_path: Path, dtype: str) -> None:
        model = KnownVolume(dtype)
        own = _values(np.dtype(dtype), (3, 6, 7))[:, ::-1].copy()
        damage = np.zeros(own.shape, bool)
        damage[1, 2, 3] = True
        record = {"left_out_slices": [1], "left_out_z_nm": [105.0], "selected_slices": [0, 2, 3]}
        stack = Stack(own, model.z_nm, (4.0, 3.0), Normalisation(0, 1, dtype), metadata=record, damage=damage)
        model.provenance = {"stack": record, "own_slices": record_own_slices(stack).to_json()}  # type: ignore[misc]
        row = self.row
        if not any(np.can_cast(dtype, name, "safe") for name in row.dtypes):
            with pytest.raises(ConfigError, match=f"grey values of type {dtype}"):
                repair(model, stack, self.target(tmp_path), format=self.format)
            assert (model.rendered, files_in(tmp_path)) == (0, {})
            return
        mask_path = tmp_path / "mask.ome.tif"
        path = repair(model, stack, self.target(tmp_path), format=self.format, mask=mask_path)
        values, _ = self.read(path)
        np.testing.assert_array_equal(values[[0, 3]], own[[0, 2]])
        np.testing.assert_array_equal(values[1], model.values[1])  # left out
        np.testing.assert_array_equal(values[2][~damage[1]], own[1][~damage[1]])
        assert values[2][2, 3] == model.values[2][2, 3]
        filled = tifffile.imread(mask_path)
        np.testing.assert_array_equal(filled, [np.zeros((6, 7)), np.ones((6, 7)), damage[1], np.zeros((6, 7))])

    @pytest.mark.parametrize("in_plane", [(1, 9), (300, 2), (65, 130)])
    def test_any_size(self, tmp_path: Path, in_plane: tuple[int, int]) -> None:
        model = KnownVolume("uint16", in_plane)
        np.testing.assert_array_equal(self.read(self.write(model, tmp_path))[0], model.values)

    def test_voxel_size(self, tmp_path: Path) -> None:
        assert self.read(self.write(KnownVolume("uint16"), tmp_path))[1] == pytest.approx((5, 4, 3))

    def test_channels_are_all_there_or_refused_before(self, tmp_path: Path) -> None:
        model = KnownVolume("uint16", channels=3)
        if self.row.has_channels:
            np.testing.assert_array_equal(self.read(self.write(model, tmp_path))[0], model.values)
            return
        with pytest.raises(ConfigError, match="this model has 3 channels: choose one"):
            self.write(model, tmp_path)
        assert (model.rendered, files_in(tmp_path)) == (0, {})

    @pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
    @pytest.mark.parametrize("error", [Cancelled(), OSError(28, "No space left on device")])
    def test_a_failure_leaves_nothing(self, tmp_path: Path, part: float, error: Exception) -> None:
        def fail(update: ProgressUpdate) -> None:
            if (update.fraction or 0.0) >= part:
                raise error

        with pytest.raises(Cancelled if isinstance(error, Cancelled) else ExportError):
            self.write(KnownVolume("uint16"), tmp_path, on_progress=fail)
        assert list(tmp_path.iterdir()) == []

    def test_what_exists_stays(self, tmp_path: Path) -> None:
        def fail(update: ProgressUpdate) -> None:
            raise Cancelled

        self.write(KnownVolume("uint16"), tmp_path)
        before = files_in(tmp_path)
        other = KnownVolume("uint16", (8, 8))
        with pytest.raises(ExportError, match="already exists"):
            self.write(other, tmp_path)
        assert other.rendered == 0
        with pytest.raises(Cancelled):
            self.write(other, tmp_path, overwrite=True, on_progress=fail)
        assert files_in(tmp_path) == before

    def test_what_is_replaced_leaves_no_trace(self, tmp_path: Path) -> None:
        self.write(KnownVolume("uint16", (300, 300)), tmp_path)
        small = KnownVolume("uint16")
        path = self.write(small, tmp_path, overwrite=True)
        np.testing.assert_array_equal(self.read(path)[0], small.values)
        replaced = files_in(path) if path.is_dir() else {path.name: path.read_bytes()}
        path.rename(tmp_path / "replaced")
        fresh = self.write(small, tmp_path)
        assert replaced.keys() == (files_in(fresh) if fresh.is_dir() else {fresh.name: b""}).keys()

    def test_what_is_of_another_kind_is_never_replaced(self, tmp_path: Path) -> None:
        target = self.target(tmp_path)
        if self.row.kind == "folder":
            target.mkdir()
            (target / "thesis.txt").write_text("x")
        else:
            (target / "folder").mkdir(parents=True)
        before = files_in(tmp_path)
        with pytest.raises(ExportError, match=r"(is not|cannot be) overwritten"):
            self.write(KnownVolume("uint16"), tmp_path, overwrite=True)
        assert files_in(tmp_path) == before

    def test_a_missing_package_is_told_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        row = replace(self.row, needs=("no_such_module",), install="this")
        monkeypatch.setitem(_registry._FORMATS, self.format, row)
        with pytest.raises(ConfigError, match=r"needs no_such_module: pip install this\."):
            plan_of(KnownVolume("uint16"), self.target(tmp_path), format=self.format)
