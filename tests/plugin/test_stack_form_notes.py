"""What the window tells of a file: sizes that nobody should believe, and what was assumed or left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.layers import Image

from napari_emgauss.plugin.tabs._stack_form import read_for_layer
from napari_emgauss.plugin.view._layer_voxel_size import (
    TYPED,
    apply_voxel_size,
    read_file_voxel_size,
    voxel_size_of_layer,
)

VALUES = np.random.default_rng(4).integers(1, 255, (9, 24, 32), dtype=np.uint8)


@pytest.mark.parametrize(
    ("scale", "unit", "said"),
    [
        ((352777.8, 352777.8, 352777.8), "nm", "72 dots per inch"),
        ((40, 0.004, 0.004), "nm", "smaller than an atom"),
        ((40, 5e-3, 5e-3), "um", "as if z were in another unit"),
        ((5, 1, 1), "mm", "more than a millimetre"),
    ],
)
def test_a_scale_that_cannot_be_is_asked_about(scale: Any, unit: str, said: str) -> None:
    found = voxel_size_of_layer(Image(VALUES, scale=scale, units=(unit,) * 3))
    assert found.zyx_nm is None
    assert said in found.warning and "type in z, y and x" in found.warning


def test_a_scale_that_makes_sense_in_micrometres_alone_is_taken_so() -> None:
    found = voxel_size_of_layer(Image(VALUES, scale=(0.04, 0.004, 0.005)))
    assert found.zyx_nm == pytest.approx((40, 4, 5))
    assert "taken as \u00b5m because it has no unit" in found.origin


def test_what_was_typed_in_is_kept_with_a_warning() -> None:
    layer = Image(VALUES)
    apply_voxel_size(layer, (5e6, 1e6, 1e6), TYPED)
    found = voxel_size_of_layer(layer)
    assert found.zyx_nm == (5e6, 1e6, 1e6)
    assert "check the units" in found.warning


def write_imagej(path: Path, lines: str, resolution: float) -> str:
    with tifffile.TiffWriter(path) as file:
        for k, page in enumerate(VALUES):
            description = f"ImageJ=1.54f\nimages=9\nslices=9\n{lines}\n" if k == 0 else None
            file.write(page, contiguous=False, metadata=None, resolution=(resolution,) * 2, description=description)
    return str(path)


def test_why_a_file_is_not_believed(tmp_path: Path) -> None:
    path = write_imagej(tmp_path / "a.tif", "unit=inch\nspacing=1", 72)
    found = read_file_voxel_size(path)
    assert found is not None and not found.complete and "72 dots per inch" in found.doubt
    data, keywords = read_for_layer(path)
    layer = Image(data, **keywords)
    size = voxel_size_of_layer(layer)
    assert size.zyx_nm is None and "72 dots per inch" in size.warning


def test_notes_of_a_file_go_with_its_layer(tmp_path: Path) -> None:
    for k, page in enumerate(VALUES):
        if k != 5:
            tifffile.imwrite(tmp_path / f"{k:03d}_v2.tif", page)
    data, keywords = read_for_layer(str(tmp_path))
    assert data.shape == (8, 24, 32)
    notes = keywords["metadata"]["emgauss_notes"]
    assert "skip 5" in notes[0]
    assert "unevenly spaced (2 times)" in notes[1]


def test_channels_come_first_for_napari(tmp_path: Path) -> None:
    both = np.stack([VALUES, 255 - VALUES], axis=1)
    about = {"axes": "ZCYX", "PhysicalSizeZ": 0.04, "PhysicalSizeY": 0.005, "PhysicalSizeX": 0.005}
    tifffile.imwrite(tmp_path / "a.ome.tif", both, metadata=about)
    data, keywords = read_for_layer(str(tmp_path / "a.ome.tif"))
    layer = Image(data, **keywords)
    np.testing.assert_array_equal(np.asarray(layer.data), both.swapaxes(0, 1))
    assert voxel_size_of_layer(layer).zyx_nm == pytest.approx((40, 5, 5))


@pytest.mark.viewer
def test_the_dock_shows_them(make_napari_viewer: Any) -> None:
    from napari_emgauss.plugin.tabs._stack_form import StackForm

    viewer = make_napari_viewer()
    form = StackForm(viewer)
    note = "the file numbers skip 5: the missing slices keep their places in depth"
    layer = viewer.add_image(VALUES, scale=(40, 5, 5), units=("nm",) * 3, metadata={"emgauss_notes": [note]})
    form.chooser.layer = layer
    assert "The file numbers skip 5" in form.file_notes.text()
    viewer.layers.clear()
    assert form.file_notes.text() == ""
    form.disconnect_viewer()
    form.close()
