"""From the isotropic volume back to the slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_emgauss._errors import ConfigError, DepthError, ExportError
from napari_emgauss.labels import CarriedLabels, bring_back, depths_covered, label_slices, write_slices
from napari_emgauss.volume import grid_depths

from .conftest import TubeModel


def test_up_and_down_is_the_identity_on_labelled_slices(oblique: TubeModel) -> None:
    labels = oblique.observed_labels()
    carried = CarriedLabels(label_slices(labels, oblique), oblique, method="distances")
    depths = grid_depths(oblique)
    np.testing.assert_array_equal(bring_back(carried.render(depths), depths, oblique.z_nm), labels)


def test_majority_over_the_thickness() -> None:
    # Depths 0 … 6; a slice at 3 of thickness 4 sees depths 1 … 5.
    volume = np.array([9, 1, 2, 3, 2, 2, 9], np.int32).reshape(7, 1, 1)
    assert bring_back(volume, np.arange(7.0), [3.0], method="majority", thickness_nm=4).item() == 2
    assert bring_back(volume, np.arange(7.0), [3.0]).item() == 3
    # Of 1, 2 and 3, which are as frequent, the one in the middle.
    assert bring_back(volume, np.arange(7.0), [2.0], method="majority", thickness_nm=2).item() == 2


def test_a_slice_reaches_half_its_thickness_either_way() -> None:
    volume = np.array([5, 5, 5, 1, 2, 2, 2], np.int32).reshape(7, 1, 1)
    # At depth 3 with a thickness of 1.5 no other slice is within: 1. With one of 2 the neighbours 5 and 2 are, too.
    assert bring_back(volume, np.arange(7.0), [3.0], method="majority", thickness_nm=1.5).item() == 1
    volume[4] = 5
    assert bring_back(volume, np.arange(7.0), [3.0], method="majority", thickness_nm=1.5).item() == 1
    assert bring_back(volume, np.arange(7.0), [3.0], method="majority", thickness_nm=2).item() == 5


def test_a_probability_is_mixed_and_averaged() -> None:
    volume = np.array([0.0, 0.5, 1.0], np.float32).reshape(3, 1, 1)
    assert bring_back(volume, [0, 10, 20], [5.0, 12.0]).ravel() == pytest.approx([0.25, 0.6])
    assert bring_back(volume, [0, 10, 20], [10.0], method="majority", thickness_nm=20).item() == pytest.approx(0.5)


def test_a_volume_of_another_grid_is_refused() -> None:
    volume = np.zeros((3, 2, 2), np.uint8)
    with pytest.raises(ConfigError, match="give the spacing"):
        bring_back(volume, [0, 1], [0.0])
    with pytest.raises(DepthError, match="from 0 to 2 nm, where no slice lies"):
        bring_back(volume, [0, 1, 2], [3.0])


def test_slices_beyond_the_volume_are_not_labelled() -> None:
    volume = np.array([4, 5, 6], np.int16).reshape(3, 1, 1)
    grid, slices = [10, 20, 30], [0.0, 10.0, 30.0, 30.1]
    assert depths_covered(grid, slices).tolist() == [False, True, True, False]
    assert bring_back(volume, grid, slices).ravel().tolist() == [0, 4, 6, 0]
    assert bring_back(volume, grid, slices, unlabelled=-1).ravel().tolist() == [-1, 4, 6, -1]
    np.testing.assert_array_equal(bring_back(volume / 2.0, grid, slices).ravel(), [np.nan, 2, 3, np.nan])
    with pytest.raises(ConfigError, match="has no value -1"):
        bring_back(volume.astype(np.uint8), grid, slices, unlabelled=-1)


def test_slices_are_written_with_their_depths(tmp_path: Path, oblique: TubeModel) -> None:
    labels = oblique.observed_labels()
    write_slices(tmp_path / "back.ome.tif", labels, oblique)
    with tifffile.TiffFile(tmp_path / "back.ome.tif") as file:
        assert file.is_ome and 'PositionZ="8.0"' in (file.ome_metadata or "")
        np.testing.assert_array_equal(file.asarray(), labels)
    with pytest.raises(ExportError, match="should end in"):
        write_slices(tmp_path / "back.png", labels, oblique)
