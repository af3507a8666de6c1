from pathlib import Path

import numpy as np
import pytest

from napari_emgauss._errors import DepthError
from napari_emgauss.model._confidence import Confidence, chosen_depths, coarse_confidence

Z_NM = np.array([0.0, 40.0, 80.0])


def _confidence() -> Confidence:
    """Slices of 8 by 12 pixels; mid-gaps of 100 and of 200, the second darker on the right."""
    values = np.full((2, 2, 3), 100, np.uint8)
    values[1] = [[200, 200, 50], [200, 200, 50]]
    return Confidence(values, [20.0, 60.0], Z_NM, (4.0, 5.0), (8, 12))


def test_observed_slices_are_certain_and_gaps_run_between() -> None:
    found = _confidence()
    assert found.shape == (3, 8, 12) and found.dtype == np.uint8
    assert (found.render([0.0, 40.0, 80.0]) == 255).all()
    assert (found.render(20.0) == 100).all()
    assert (found.render(10.0) == round((255 + 100) / 2)).all()
    plane = found.render(60.0)
    assert plane.shape == (8, 12) and plane[0, 0] == 200 and plane[0, -1] == 50
    assert 50 < plane[0, 8] < 200


def test_regions_and_shapes_are_those_of_a_model() -> None:
    found, whole = _confidence(), _confidence().render(60.0)
    np.testing.assert_array_equal(found.render(60.0, region=(2, 6, 3, 11)), whole[2:6, 3:11])
    assert found.render([60.0, 70.0], region=(0.5, 7.5, 0, 12), shape=(4, 5)).shape == (2, 4, 5)
    with pytest.raises(DepthError, match="outside"):
        found.render(81.0)


def test_a_few_depths_of_every_gap_are_kept() -> None:
    depths = np.array([5.0, 10, 15, 20, 25, 30, 35, 60.0])
    assert chosen_depths(Z_NM, depths, 3) == [0, 3, 6, 7]
    assert chosen_depths(Z_NM, depths, 1) == [3, 7]


def test_planes_become_coarse() -> None:
    plane = np.zeros((8, 12), np.float32)
    plane[:, 8:] = 1.0
    found = coarse_confidence(
        [plane, np.stack([plane, 0.5 * plane])], np.array([20.0, 60.0]), Z_NM, (4.0, 5.0), (8, 12)
    )
    np.testing.assert_array_equal(found.values[0], [[0, 0, 255]] * 2)
    np.testing.assert_array_equal(found.values[1], [[0, 0, 128]] * 2)  # of several channels the least


def test_it_is_saved_with_the_model_and_files_without_it_load(tmp_path: Path) -> None:
    from napari_emgauss.model import ModelConfig
    from napari_emgauss.render import EmgaussModel, load
    from napari_emgauss.stack import Normalisation

    model = EmgaussModel(
        ModelConfig(grid_channels=2, head_width=4), Z_NM, (4.0, 5.0), (8, 12), Normalisation(0, 255, "uint8"), 20
    )
    model.save(tmp_path / "without.safetensors")
    assert load(tmp_path / "without.safetensors").confidence is None
    model.confidence = _confidence()
    model.save(tmp_path / "with.safetensors")
    found = load(tmp_path / "with.safetensors").confidence
    assert found is not None
    np.testing.assert_array_equal(found.render(33.0), model.confidence.render(33.0))
    assert model.snapshot().confidence is model.confidence


def test_a_fit_keeps_what_its_prior_says_and_the_command_line_writes_it(tmp_path: Path) -> None:
    import tifffile

    from napari_emgauss.cli import main
    from napari_emgauss.fitting import FitConfig, run_fit
    from napari_emgauss.stack import stack_from_array

    values = np.random.default_rng(0).integers(0, 255, (4, 24, 32)).astype(np.uint8)
    quick = {"iterations_scale": 0.002, "grid_channels": 4, "head_width": 8}
    stack = stack_from_array(values, (40.0, 5.0, 5.0))
    model = run_fit(stack, FitConfig(prior="flow", **quick))
    assert model.confidence is not None and 0 < model.confidence.values.mean() < 255
    model.save(tmp_path / "m.safetensors")
    arguments = ["export", str(tmp_path / "m.safetensors"), "-q", "-o", str(tmp_path / "v.tif")]
    assert main([*arguments, "--confidence", str(tmp_path / "c.tif")]) == 0
    assert tifffile.imread(tmp_path / "c.tif").shape == tifffile.imread(tmp_path / "v.tif").shape
    blind = run_fit(stack, FitConfig(prior="ema", **quick))
    assert blind.confidence is None
    blind.save(tmp_path / "m.safetensors")
    assert main([*arguments, "--force", "--confidence", str(tmp_path / "d.tif")]) == 2
