"""A fitted part lies exactly where its voxels lie in the source layer, however that is placed."""

from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from napari_emgauss.plugin.view._geometry import placement_in_nm, placement_on

TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
AFFINE = np.array([[1.0, 0.1, 0, 7], [0, 1.2, 0.05, -3], [0.02, 0, 0.9, 11], [0, 0, 0, 1]])


# napari says so itself: it draws such layers, but slices them only along their own axes.
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize(
    "placing",
    [
        {"scale": (40, 4, 5)},
        {"scale": (40, 4, 5), "translate": (100, -20, 30), "units": ("nm",) * 3},
        {"scale": (40, 4, 5), "rotate": TURN, "translate": (1, 2, 3)},
        {
            "scale": (0.04, 0.004, 0.005),
            "rotate": TURN,
            "shear": (0.1, 0.2, 0.3),
            "affine": AFFINE,
            "units": ("um",) * 3,
        },
    ],
)
@pytest.mark.parametrize("step_nm", [4.0, 10.0, 0.5])
def test_part_on_source(placing: dict[str, Any], step_nm: float) -> None:
    source = Image(np.zeros((9, 24, 32), np.uint8), axis_labels=("z", "y", "x"), **placing)
    first, y0, x0 = 2, 5, 7
    z_nm = 80 + 40 * np.arange(5)  # slices 2 to 6
    keywords = placement_on(source, (first, y0, x0), z_nm).layer_arguments(step_nm)
    steps_per_slice = round(40 / step_nm)
    part = Image(np.zeros((4 * steps_per_slice + 1, 12, 17), np.uint8), **keywords)
    for k, y, x in [(0, 0, 0), (4, 11, 16), (2, 3, 9), (3, 0, 16)]:
        in_part = part.data_to_world((k * steps_per_slice, y, x))
        in_source = source.data_to_world((first + k, y0 + y, x0 + x))
        np.testing.assert_allclose(in_part, in_source, atol=1e-6)
    assert part.units == source.units
    assert part.axis_labels == source.axis_labels


def test_uneven_slices_keep_first_and_last_on_theirs() -> None:
    source = Image(np.zeros((4, 24, 32), np.uint8), scale=(40, 4, 5))
    placement = placement_on(source, (0, 0, 0), [0.0, 30.0, 90.0, 150.0])
    assert placement.world_per_nm_z * 150 == pytest.approx(3 * 40)


def test_without_a_source_the_world_is_nm() -> None:
    keywords = placement_in_nm([80.0, 120.0], (4.0, 5.0), (10, 20)).layer_arguments(2.5)
    assert keywords["scale"] == (2.5, 4.0, 5.0)
    assert keywords["translate"] == (80.0, 40.0, 100.0)
