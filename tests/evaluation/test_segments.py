from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss import ConfigError
from napari_emgauss.evaluation import evaluate_labels
from napari_emgauss.evaluation._segments import compare_partitions, membranes_of, partition
from napari_emgauss.stack import stack_from_array


def cells(height=48, width=160, side=16):
    y, x = np.mgrid[:height, :width]
    return (y // side * (width // side) + x // side + 1).astype(np.uint16)


def volume(depth=17):
    """Cells as columns through the slices, bright, with dark membranes, and another shade where one looks closely."""
    labels = np.repeat(cells()[None], depth, axis=0)
    dark = np.stack([membranes_of(one) for one in labels])
    noise = np.random.default_rng(0).integers(0, 12, labels.shape)
    return np.where(dark, 60, 180).astype(np.uint8) + noise.astype(np.uint8), labels


def test_the_same_cells_under_other_numbers_are_no_error():
    truth = cells()
    found = compare_partitions(1000 - truth.astype(int), truth)
    assert found == {name: pytest.approx(0, abs=1e-12) for name in ("adapted_rand_error", "voi_split", "voi_merge")}


def test_halved_cells_cost_one_bit_of_splits_and_joined_ones_one_of_merges():
    truth = cells(32, 32, 16)  # four equal cells
    halves = 2 * truth + (np.arange(32)[None] % 16 >= 8)
    assert compare_partitions(halves, truth)["voi_split"] == pytest.approx(1)
    assert compare_partitions(halves, truth)["voi_merge"] == pytest.approx(0)
    pairs = (truth + 1) // 2
    assert compare_partitions(pairs, truth)["voi_merge"] == pytest.approx(1)
    # Of pairs of pixels joined, every second one is so in truth as well: precision 1/2, recall 1.
    assert compare_partitions(pairs, truth)["adapted_rand_error"] == pytest.approx(1 - 2 * 0.5 / 1.5, abs=0.01)


def test_pixels_without_a_label_do_not_count():
    truth = cells(32, 32, 16)
    found = truth.astype(int)
    found[:, :4] = 99
    assert compare_partitions(found, truth)["voi_split"] > 0
    truth[:, :4] = 0
    assert compare_partitions(found, truth)["voi_split"] == pytest.approx(0, abs=1e-12)
    assert compare_partitions(found, np.zeros_like(truth))["voi_split"] is None


def test_a_sharp_map_of_membranes_is_parted_into_its_cells():
    truth = cells(48, 64)
    found = partition(membranes_of(truth).astype(np.float32))
    assert len(np.unique(found)) == 12
    assert compare_partitions(found, truth)["adapted_rand_error"] < 0.01
    assert (partition(np.ones((20, 20), np.float32)) == 1).all()


def test_clear_cells_are_found_in_what_linear_interpolation_makes_of_them():
    values, labels = volume()
    image = stack_from_array(values, (4, 4, 4), allow_isotropic=True, name="cells")
    truth = stack_from_array(labels, (4, 4, 4), allow_isotropic=True)
    found = evaluate_labels(image, truth, 4, methods=["linear"])
    assert set(found.methods) == {"truth", "linear"}
    for one in found.methods.values():
        assert one["adapted_rand_error"].mean < 0.05
    assert found.slices == 12
    assert found.columns == (96, 159)
    told = found.as_dict()["methods"]["linear"]["metrics"]["segments"]
    assert told["voi_split"]["count"] == 12
    assert "adapted Rand error" in found.table()


def test_labels_that_do_not_fit_are_refused():
    values, labels = volume()
    image = stack_from_array(values, (4, 4, 4), allow_isotropic=True)
    with pytest.raises(ConfigError, match="must be equal"):
        evaluate_labels(image, stack_from_array(labels[1:], (4, 4, 4), allow_isotropic=True), 4)
    one = stack_from_array((labels > 3).astype(np.uint8), (4, 4, 4), allow_isotropic=True)
    with pytest.raises(ConfigError, match="fewer than two cells"):
        evaluate_labels(image, one, 4)
