from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.layers import Image

from napari_emgauss.plugin.process._request import suspicion
from napari_emgauss.plugin.view._layer_voxel_size import apply_voxel_size, read_file_voxel_size, voxel_size_of_layer

VALUES = np.zeros((5, 24, 32), np.uint8)


def test_a_scale_of_one_without_unit_is_unknown() -> None:
    found = voxel_size_of_layer(Image(VALUES))
    assert found.zyx_nm is None and "unknown" in found.warning


def test_units_are_converted() -> None:
    found = voxel_size_of_layer(Image(VALUES, scale=(0.04, 0.004, 0.005), units=("um",) * 3))
    assert found.zyx_nm == pytest.approx((40, 4, 5))
    assert "not square" in found.warning  # 4 by 5: three different sizes show swapped axes


def test_one_nanometre_is_known_to_be_one() -> None:
    assert voxel_size_of_layer(Image(VALUES, units=("nm",) * 3)).zyx_nm == (1, 1, 1)


def test_a_scale_without_unit_is_taken_as_nm_and_says_so() -> None:
    found = voxel_size_of_layer(Image(VALUES, scale=(40, 4, 4)))
    assert found.zyx_nm == (40, 4, 4) and "taken as nm" in found.origin and found.warning == ""


@pytest.mark.parametrize(
    ("size", "part"),
    [((4, 4, 4), "isotropic already"), ((400, 4, 4), "check the units"), ((40, 4, 8), "not square"), ((40, 4, 4), "")],
)
def test_suspicion(size: tuple[float, float, float], part: str) -> None:
    said = suspicion(size)
    assert part in said and bool(said) == bool(part)


def test_apply_sets_scale_units_and_axes() -> None:
    layer = Image(VALUES)
    apply_voxel_size(layer, (40, 4, 5), "the test")
    assert tuple(layer.scale) == (40, 4, 5)
    assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
    assert tuple(layer.axis_labels) == ("z", "y", "x")
    assert voxel_size_of_layer(layer).origin == "the test"


def test_apply_keeps_the_users_axis_labels() -> None:
    layer = Image(VALUES, axis_labels=("depth", "y", "x"))
    apply_voxel_size(layer, (40, 4, 5), "the test")
    assert tuple(layer.axis_labels) == ("depth", "y", "x")


def test_a_file_says_or_does_not_say(tmp_path: Path) -> None:
    said, silent = tmp_path / "ij.tif", tmp_path / "plain.tif"
    tifffile.imwrite(
        said,
        VALUES,
        imagej=True,
        resolution=(1 / 0.005, 1 / 0.004),  # x, y in pixels per µm
        metadata={"spacing": 0.04, "unit": "um", "axes": "ZYX"},
    )
    tifffile.imwrite(silent, VALUES)
    found = read_file_voxel_size(str(said))
    assert found is not None
    assert (found.z_nm, found.y_nm, found.x_nm) == pytest.approx((40, 4, 5))
    assert read_file_voxel_size(str(silent)) is None
    assert read_file_voxel_size(str(tmp_path / "missing.tif")) is None
