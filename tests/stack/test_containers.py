"""HDF5, Zarr and N5: which array is meant, whose metadata count, and what programs keep where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from napari_emgauss._errors import StackError, StackFileError
from napari_emgauss.stack import Stack, read_stack, read_voxel_size

VALUES = np.random.default_rng(21).integers(0, 65536, (8, 24, 32), dtype=np.uint16)
SIZE = (40.0, 5.0, 4.0)


def size_of(stack: Stack) -> tuple[float, ...]:
    return (float(stack.z_nm[1]), *stack.pixel_size_nm)


def nested_zarr(path: Path, version: int = 2) -> Path:
    """A pyramid within groups, as open cell volumes are published, and labels beside."""
    root = zarr.open_group(str(path), mode="w", zarr_format=version)  # type: ignore[arg-type]
    group = root.create_group("recon-1/em/raw")
    levels = []
    for level, step in (("s0", 1), ("s1", 2)):
        values = np.ascontiguousarray(VALUES[:, ::step, ::step])
        group.create_array(level, shape=values.shape, chunks=(4, 8, 8), dtype=values.dtype)[:] = values
        scale = [SIZE[0], SIZE[1] * step, SIZE[2] * step]
        levels.append({"path": level, "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    image = [{"axes": axes, "datasets": levels}]
    group.attrs.update({"multiscales": image} if version == 2 else {"ome": {"version": "0.5", "multiscales": image}})
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("inside", "dataset", "step"),
    [
        ("", None, 1),
        ("", "recon-1/em/raw", 1),
        ("", "/recon-1/em/raw/", 1),
        ("", "recon-1", 1),
        ("", "recon-1/em/raw/s1", 2),
        ("recon-1/em", None, 1),
        ("recon-1/em", "raw/s1", 2),
        ("recon-1/em/raw", None, 1),
        ("recon-1/em/raw", "s1", 2),
        ("recon-1/em/raw/s0", None, 1),
        ("recon-1/em/raw/s1", None, 2),
    ],
)
def test_wherever_in_a_container_the_user_points(
    tmp_path: Path, version: int, inside: str, dataset: str | None, step: int
) -> None:
    path = nested_zarr(tmp_path / "a.zarr", version) / inside
    stack = read_stack(path, dataset=dataset)
    np.testing.assert_array_equal(np.asarray(stack.slices), VALUES[:, ::step, ::step])
    assert size_of(stack) == (40, 5 * step, 4 * step)
    size = read_voxel_size(path, dataset=dataset)
    assert (size.z_nm, size.y_nm, size.x_nm) == (40, 5 * step, 4 * step)


def test_a_level_that_is_not_there(tmp_path: Path) -> None:
    path = nested_zarr(tmp_path / "a.zarr")
    with pytest.raises(StackError, match=r"no level s7 in raw: it has s0, s1"):
        read_stack(path / "recon-1/em/raw", dataset="s7")
    with pytest.raises(StackError, match=r"no array recon-2 in a\.zarr: it holds recon-1/em/raw/s0"):
        read_stack(path, dataset="recon-2")
    with pytest.raises(StackError, match="s0 is one array: there is no x in it"):
        read_stack(path / "recon-1/em/raw/s0", dataset="x")


def test_scales_of_ngff_that_follow_each_other(tmp_path: Path) -> None:
    """Of the level and of the image, within a sequence, and axes in a coordinate system as since 0.6."""
    path = nested_zarr(tmp_path / "a.zarr", 3)
    group = zarr.open_group(str(path / "recon-1/em/raw"), mode="r+")
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    steps = [{"type": "scale", "scale": [4.0, 0.5, 0.4]}, {"type": "translation", "translation": [1, 2, 3]}]
    image = {
        "coordinateSystems": [{"name": "physical", "axes": axes}],
        "datasets": [{"path": "s0", "coordinateTransformations": [{"type": "sequence", "transformations": steps}]}],
        "coordinateTransformations": [{"type": "scale", "scale": [0.01, 0.01, 0.01]}],
    }
    group.attrs["ome"] = {"version": "0.6", "multiscales": [image]}
    np.testing.assert_allclose(size_of(read_stack(path)), SIZE)


def test_axes_as_letters_as_before_ngff_0_4(tmp_path: Path) -> None:
    path = nested_zarr(tmp_path / "a.zarr")
    group = zarr.open_group(str(path / "recon-1/em/raw"), mode="r+")
    group.attrs["multiscales"] = [{"version": "0.3", "axes": ["z", "y", "x"], "datasets": [{"path": "s0"}]}]
    np.testing.assert_array_equal(np.asarray(read_stack(path, voxel_size_nm=SIZE).slices), VALUES)
    assert not read_voxel_size(path).complete


def test_attributes_of_groups_above_count_and_each_axis_has_its_unit(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    root.attrs.update({"resolution": [0.04, 5, 4], "units": ["um", "nm", "nm"]})
    root.create_group("volumes").create_array("raw", shape=VALUES.shape, chunks=(4, 8, 8), dtype="u2")[:] = VALUES
    assert size_of(read_stack(tmp_path / "a.zarr")) == SIZE
    assert size_of(read_stack(tmp_path / "a.zarr/volumes/raw")) == SIZE
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["resolution"], file.attrs["units"] = [40, 0.005, 0.004], ["nm", "um", "um"]
        file["deep/in/raw"] = VALUES
    np.testing.assert_allclose(size_of(read_stack(tmp_path / "a.h5")), SIZE)


def test_axes_that_xarray_names(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=(24, 32, 8), chunks=(8, 8, 4), dtype="u2", zarr_format=2)
    array[:] = VALUES.transpose(1, 2, 0)
    array.attrs["_ARRAY_DIMENSIONS"] = ["height", "width", "depth"]
    stack = read_stack(tmp_path / "a.zarr", voxel_size_nm=SIZE)
    np.testing.assert_array_equal(np.asarray(stack.slices), VALUES)


@pytest.mark.parametrize("fill", [0, 7, None])
def test_blocks_that_were_never_written_hold_the_fill_value(tmp_path: Path, fill: int | None) -> None:
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=VALUES.shape, chunks=(1, 12, 16), dtype="u2", zarr_format=2, fill_value=fill
    )
    expected = VALUES.copy()
    expected[3, :12, :16] = fill or 0
    array[:] = VALUES
    (tmp_path / "a.zarr/3.0.0").unlink()
    np.testing.assert_array_equal(np.asarray(read_stack(tmp_path / "a.zarr", voxel_size_nm=SIZE).slices), expected)


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((1, 8, 24, 32), 1), ((8, 24, 32, 1), 1), ((1, 8, 24, 32, 1), 1), ((8, 1, 24, 32), 1), ((8, 24, 32, 1, 1), 1)],
)
def test_axes_of_length_one(tmp_path: Path, shape: tuple[int, ...], channels: int) -> None:
    np.save(tmp_path / "a.npy", VALUES.reshape(shape))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=VALUES.reshape(shape), chunks=True)
    for name in ("a.npy", "a.h5"):
        stack = read_stack(tmp_path / name, voxel_size_nm=SIZE)
        assert stack.channels == channels
        np.testing.assert_array_equal(np.asarray(stack.slices), VALUES)


@pytest.mark.parametrize("axes", ["zyxc", "czyx", "xyzc", "tzyxc", "zcyx", "yxz"])
def test_axes_that_ilastik_tags(tmp_path: Path, axes: str) -> None:
    """Two channels where there is an axis for them; the time has one point."""
    channels = np.stack([VALUES, VALUES[::-1]])
    known = "czyx" if "c" in axes else "zyx"
    data = channels if "c" in axes else VALUES
    data = data.transpose([known.index(axis) for axis in axes if axis != "t"])
    data = data[None] if "t" in axes else data
    tags = {"axes": [{"key": axis, "typeFlags": 2, "resolution": 0, "description": ""} for axis in axes]}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("exported_data", data=data, chunks=True).attrs["axistags"] = json.dumps(tags)
    stack = read_stack(tmp_path / "a.h5", voxel_size_nm=SIZE)
    expected = np.moveaxis(channels, 0, 1) if "c" in axes else VALUES
    np.testing.assert_array_equal(np.asarray(stack.slices), expected)


def test_sizes_in_axis_tags(tmp_path: Path) -> None:
    tags = [{"key": axis, "resolution": size / 1000} for axis, size in zip("zyx", SIZE, strict=True)]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        raw = file.create_dataset("exported_data", data=VALUES)
        raw.attrs["axistags"] = json.dumps({"axes": tags})
        raw.attrs["axis_units"] = json.dumps(dict.fromkeys("zyx", "um"))
    np.testing.assert_allclose(size_of(read_stack(tmp_path / "a.h5")), SIZE)


def big_data_viewer(folder: Path, times: int = 1, setups: int = 1) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        for setup in range(setups):
            file[f"s{setup:02d}/resolutions"] = [[1.0, 1, 1], [2, 2, 1]]
            file[f"s{setup:02d}/subdivisions"] = [[16, 16, 4], [16, 16, 4]]
            for time in range(times):
                for level, step in ((0, 1), (1, 2)):
                    cells = np.roll(VALUES, time + setup, 0)[:, ::step, ::step].view(np.int16)
                    file.create_dataset(f"t{time:05d}/s{setup:02d}/{level}/cells", data=cells, chunks=(4, 8, 8))
    views = "".join(
        f"<ViewSetup><id>{setup}</id><size>32 24 8</size><voxelSize><unit>micrometer</unit>"
        f"<size>0.004 0.005 {0.04 + setup / 100}</size></voxelSize></ViewSetup>"
        for setup in range(setups)
    )
    (folder / "dataset.xml").write_text(
        '<SpimData version="0.2"><SequenceDescription><ImageLoader format="bdv.hdf5"><hdf5 type="relative">a.h5</hdf5>'
        f"</ImageLoader><ViewSetups>{views}</ViewSetups></SequenceDescription></SpimData>"
    )
    return folder / "a.h5"


def test_bigdataviewer(tmp_path: Path) -> None:
    stack = read_stack(big_data_viewer(tmp_path))
    assert stack.slices.dtype == np.uint16
    np.testing.assert_array_equal(np.asarray(stack.slices), VALUES)
    np.testing.assert_allclose(size_of(stack), SIZE)
    coarse = read_stack(tmp_path / "a.h5", dataset="t00000/s00/1/cells")
    np.testing.assert_array_equal(np.asarray(coarse.slices), VALUES[:, ::2, ::2])
    np.testing.assert_allclose(size_of(coarse), (40, 10, 8))


def test_bigdataviewer_times_and_setups(tmp_path: Path) -> None:
    path = big_data_viewer(tmp_path, times=2, setups=2)
    with pytest.raises(StackError, match="2 time points"):
        read_stack(path)
    with pytest.raises(StackError, match=r"several arrays, t00001/s00/0/cells .*, t00001/s01/0/cells"):
        read_stack(path, time=1)
    stack = read_stack(path, dataset="t00001/s01/0/cells")
    np.testing.assert_array_equal(np.asarray(stack.slices), np.roll(VALUES, 2, 0))
    np.testing.assert_allclose(size_of(stack), (50, 5, 4))


def test_an_hdf5_filter_that_is_missing_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    with h5py.File(tmp_path / "a.h5", "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((4, 8, 8))
        creation.set_filter(32026, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(VALUES.shape)
        h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT16, space, creation)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code < 10)
    with pytest.raises(StackFileError, match=r"HDF5 filter Blosc2, which is missing: pip install hdf5plugin\."):
        read_stack(tmp_path / "a.h5", voxel_size_nm=SIZE)


def write_n5(path: Path, inside: str, values: np.ndarray[Any, Any], attributes: dict[str, Any]) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    about = {"dimensions": list(values.shape[::-1]), "blockSize": [8, 8, 4], "dataType": values.dtype.name}
    metadata = {**about, "compression": {"type": "gzip"}}
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": str(path / inside)}, "metadata": metadata}
    tensorstore.open(spec, create=True).result().T.write(values).result()
    file = path / inside / "attributes.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **attributes}))


# Attributes of the container, of the group and of the levels s0 and s1; what s1 must have.
N5_SIZES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "pixelResolution of the container": (
        {"pixelResolution": {"dimensions": [0.004, 0.005, 0.04], "unit": "um"}},
        {},
        {},
        {"downsamplingFactors": [2, 2, 1]},
    ),
    "pixelResolution of the group, factors in its list": (
        {},
        {"pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}, "scales": [[1, 1, 1], [2, 2, 1]]},
        {},
        {},
    ),
    "pixelResolution of each level": (
        {},
        {},
        {"pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}},
        {"pixelResolution": {"dimensions": [8, 10, 40], "unit": "nm"}},
    ),
    "pixelResolution and factors of each level": (
        {},
        {},
        {"pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}},
        {"pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}, "downsamplingFactors": [2, 2, 1]},
    ),
    "resolution and units of the group": (
        {},
        {"resolution": [4, 5, 0.04], "units": ["nm", "nm", "um"]},
        {},
        {"downsamplingFactors": [2, 2, 1]},
    ),
    "transform of each level": (
        {},
        {},
        {"transform": {"axes": ["z", "y", "x"], "scale": [40, 5, 4], "units": ["nm"] * 3}},
        {"transform": {"axes": ["z", "y", "x"], "scale": [40, 10, 8], "units": ["nm"] * 3}},
    ),
    "multiscales of the group": (
        {},
        {
            "multiscales": [
                {
                    "datasets": [
                        {"path": f"s{level}", "transform": {"axes": list("zyx"), "scale": scale, "units": ["nm"] * 3}}
                        for level, scale in enumerate(([40, 5, 4], [40, 10, 8]))
                    ]
                }
            ]
        },
        {},
        {},
    ),
}


@pytest.mark.parametrize("name", N5_SIZES)
def test_n5_sizes_are_looked_for_upwards(tmp_path: Path, name: str) -> None:
    of_container, of_group, of_first, of_second = N5_SIZES[name]
    path = tmp_path / "a.n5"
    write_n5(path, "em/raw/s0", VALUES, of_first)
    write_n5(path, "em/raw/s1", np.ascontiguousarray(VALUES[:, ::2, ::2]), of_second)
    (path / "attributes.json").write_text(json.dumps({"n5": "2.0.0", **of_container}))
    if of_group:
        (path / "em/raw/attributes.json").write_text(json.dumps(of_group))
    for inside, dataset in (("", None), ("", "em"), ("em", "raw/s0"), ("em/raw", None), ("em/raw/s0", None)):
        stack = read_stack(path / inside, dataset=dataset)
        np.testing.assert_array_equal(np.asarray(stack.slices), VALUES)
        np.testing.assert_allclose(size_of(stack), SIZE)
    for inside, dataset in (("", "em/raw/s1"), ("em/raw", "s1"), ("em/raw/s1", None)):
        stack = read_stack(path / inside, dataset=dataset)
        np.testing.assert_array_equal(np.asarray(stack.slices), VALUES[:, ::2, ::2])
        np.testing.assert_allclose(size_of(stack), (40, 10, 8))


def test_numpy_of_any_order_is_read_without_reading_all_for_each_slice(tmp_path: Path) -> None:
    for name, array in (("c", VALUES), ("f", np.asfortranarray(VALUES)), ("b", VALUES.astype(">u2"))):
        np.save(tmp_path / f"{name}.npy", array)
        stack = read_stack(tmp_path / f"{name}.npy", voxel_size_nm=SIZE)
        assert stack.slices.dtype == np.dtype("u2")
        np.testing.assert_array_equal(np.asarray(stack.slices), VALUES)
        assert stack.slices._chunk_depth == (64 if name == "f" else 1)
