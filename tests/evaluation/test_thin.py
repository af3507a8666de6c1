from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss import ConfigError, VoxelSizeError
from napari_emgauss.evaluation import thin
from napari_emgauss.stack import stack_from_array


def ramp_volume(shape=(14, 8, 9), axis=0, dtype=np.uint8):
    """Grey values that grow by 10 from slice to slice along ``axis``, with one other pixel a slice so none is flat."""
    values = np.zeros(shape, dtype)
    moved = np.moveaxis(values, axis, 0)
    moved += (10 * np.arange(shape[axis], dtype=dtype))[:, None, None]
    moved[:, 0, 0] += 5
    return stack_from_array(values, (4.0, 4.0, 4.0), allow_isotropic=True)


def test_point_samples_are_every_factor_th_slice():
    thinned = thin(ramp_volume(), 3)
    assert thinned.stack.shape == (5, 8, 9)
    assert thinned.stack.z_nm.tolist() == [0, 12, 24, 36, 48]
    assert np.asarray(thinned.stack.slices)[:, 3, 3].tolist() == [0, 30, 60, 90, 120]
    # The last slice lies beyond the last kept one: nobody can interpolate it, and it is not scored.
    assert thinned.truth.shape == (13, 8, 9)
    assert thinned.distance.tolist() == [0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0]
    assert thinned.dropped.sum() == 8
    assert thinned.truth[1, 3, 3] == pytest.approx(10 / 255)


def test_slab_samples_are_means_at_the_middle_of_their_block():
    thinned = thin(ramp_volume(), 4, sampling="slab")
    # 14 slices hold three whole blocks of four, centred at 1.5, 5.5 and 9.5
    assert thinned.stack.z_nm.tolist() == [6, 22, 38]
    assert np.asarray(thinned.stack.slices)[:, 3, 3].tolist() == [15, 55, 95]
    assert thinned.z_nm.tolist() == [4.0 * k for k in range(2, 10)]
    assert thinned.dropped.all()
    assert thinned.distance[0] == 0.5
    assert thinned.stack.unit_slice(0)[3, 3] == pytest.approx(15 / 255)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_can_be_thinned_out(axis):
    shape = [8, 9, 11]
    shape[axis] = 13
    thinned = thin(ramp_volume(tuple(shape), axis), 6, axis=axis)
    assert np.asarray(thinned.stack.slices)[:, 3, 3].tolist() == [0, 60, 120]
    assert thinned.truth.shape == (13, *[n for i, n in enumerate(shape) if i != axis])


def test_crop_takes_the_first_voxels():
    thinned = thin(ramp_volume(), 2, crop=(7, 5, 6))
    assert thinned.truth.shape == (7, 5, 6)


def test_grey_value_limits_come_from_kept_slices_only():
    values = np.zeros((9, 8, 10), np.uint16)
    values[:, :, ::2] = 100
    values[1::2] *= 50  # dropped slices are far brighter; whoever knows that has seen them
    volume = stack_from_array(values, (4, 4, 4), allow_isotropic=True)
    assert volume.normalisation.high == 5000
    assert thin(volume, 2).stack.normalisation.high == 100


def test_an_anisotropic_volume_has_no_truth_between_its_slices():
    stack = stack_from_array(np.random.default_rng(0).random((9, 8, 10), np.float32), (40, 4, 4))
    with pytest.raises(VoxelSizeError, match="emgauss score"):
        thin(stack, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 1}, "at least 2"),
        ({"factor": 7}, "at least 3 are needed"),
        ({"factor": 6, "sampling": "slab"}, "18 slices or more"),
        ({"factor": 3, "axis": 3}, "axis"),
        ({"factor": 3, "crop": (14, 9, 9)}, "does not fit"),
        ({"factor": 3, "crop": (14, 0, 9)}, "does not fit"),
        ({"factor": 3, "sampling": "thick"}, "point or slab"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        thin(ramp_volume(), **options)
