"""Error bars that are kept with a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_emgauss._errors import DepthError, ModelFileError
from napari_emgauss.model import ERROR_BARS, ErrorBars, ModelConfig, error_bars, read_tensors, write_tensors
from napari_emgauss.render import EmgaussModel, load
from napari_emgauss.stack import Normalisation
from napari_emgauss.volume import traits_of

Z = np.array([0.0, 40.0, 80.0])
SIZE = (16, 24)


def even(squared: float = 0.01, channels: int = 1) -> ErrorBars:
    """The same error at all inferred depths, half of it at mid-gap's neighbours in its square."""
    planes = [np.full((channels, *SIZE), squared)] * 2
    usual = {0.5: [squared] * channels, 0.25: [squared / 2] * channels}
    widths = {0.5: (0.7,) * channels, 0.9: (1.6,) * channels, 0.95: (2.0,) * channels}
    return error_bars(planes, np.array([20.0, 60.0]), usual, widths, Z, (5.0, 5.0), SIZE)


def test_sigma_is_the_root_of_the_squared_error_in_grey_values() -> None:
    bars = even(0.01).in_grey_values([255.0])
    assert bars.render(20.0) == pytest.approx(25.5, rel=1e-3)  # sqrt(0.01) of 255 grey values
    assert bars.render(10.0) == pytest.approx(25.5 / np.sqrt(2), rel=1e-3)
    assert bars.render(50.0) == pytest.approx(bars.render(30.0))  # as far from a slice
    assert bars.render(20.0).dtype == np.float32


def test_it_follows_the_planes_between_which_it_lies() -> None:
    planes = [np.full((1, *SIZE), 0.01), np.full((1, *SIZE), 0.04)]
    bars = error_bars(planes, np.array([20.0, 60.0]), {0.5: [0.01]}, {0.5: (0.7,)}, Z, (5.0, 5.0), SIZE)
    assert bars.render(20.0) == pytest.approx(0.1, rel=0.02)
    assert bars.render(60.0) == pytest.approx(0.2, rel=0.02)
    assert bars.render(40.0) == pytest.approx(np.sqrt(0.025), rel=0.02)


def test_a_larger_squared_error_never_gives_a_smaller_sigma() -> None:
    rising = np.linspace(0.001, 0.1, 24)[None, None].repeat(16, axis=1)
    bars = error_bars([rising, rising], np.array([20.0, 60.0]), {0.5: [0.03]}, {0.5: (0.7,)}, Z, (5.0, 5.0), SIZE)
    sigma = bars.sharpened([rising], [20.0]).render(20.0)
    assert (np.diff(sigma, axis=1) >= 0).all()
    assert sigma[0, -1] > 3 * sigma[0, 0]


def test_sharpening_gives_back_what_smoothing_took() -> None:
    size = (128, 128)
    fine = np.exp(6 * gaussian_filter(np.random.default_rng(0).standard_normal(size), 2.0, mode="wrap"))[None] / 100
    mean = float(fine.mean())
    bars = error_bars([fine, fine], np.array([20.0, 60.0]), {0.5: [mean]}, {0.5: (0.7,)}, Z, (5.0, 5.0), size)

    def slope(one: ErrorBars) -> float:
        return float(np.polyfit((one.render(20.0) ** 2).ravel(), fine[0].ravel(), 1)[0])

    assert slope(bars) > 1.1, "lines between blocks are smoother than the blocks"
    assert slope(bars.sharpened([fine], [20.0])) == pytest.approx(1.0, abs=0.05)


def test_observed_slices_are_as_wrong_as_the_fit_leaves_them() -> None:
    bars = even(0.01).with_observed([0.0001])
    assert bars.render(40.0) == pytest.approx(0.01, rel=0.02)
    assert bars.render(5.0)[0, 0] < bars.render(10.0)[0, 0]


def test_bands_and_depths_that_are_not_there_are_refused() -> None:
    bars = even()
    assert bars.half_width(0.9) == 1.6
    with pytest.raises(ValueError, match=r"bands for 0\.5, 0\.9, 0\.95"):
        bars.half_width(0.8)
    with pytest.raises(DepthError):
        bars.render(81.0)


def test_every_channel_has_its_own() -> None:
    both = error_bars(
        [np.stack([np.full(SIZE, 0.01), np.full(SIZE, 0.04)])],
        np.array([20.0]),
        {0.5: [0.01, 0.04]},
        {0.9: (1.6, 1.7)},
        Z,
        (5.0, 5.0),
        SIZE,
    ).in_grey_values([255.0, 100.0])
    sigma = both.render([20.0, 20.0])
    assert sigma.shape == (2, 2, *SIZE)
    assert sigma[0, :, 0, 0] == pytest.approx([25.5, 20.0], rel=1e-3)
    assert both.of_channel(1).render(20.0) == pytest.approx(20.0, rel=1e-3)
    assert both.of_channel(1).half_width(0.9) == 1.7


def model(dtype: str = "uint8", high: float = 255.0) -> EmgaussModel:
    made = EmgaussModel(ModelConfig(field="spline"), Z, (5.0, 5.0), SIZE, Normalisation(0.0, high, dtype), 20)
    made.error_bars = even()
    return made


def test_a_model_keeps_them_in_its_file_and_tells_grey_values(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model("uint16", 1000.0).save(path)
    found = load(path, device="cpu")
    assert found.error is not None
    np.testing.assert_array_equal(found.error.render([5.0, 20.0]), model("uint16", 1000.0).error.render([5.0, 20.0]))
    assert found.error.render(20.0) == pytest.approx(100.0, rel=1e-3)
    assert found.error.half_width(0.95) == 2.0
    assert traits_of(found).error is not None
    assert found.snapshot().error is not None


def test_an_older_model_has_none(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    old = model()
    old.error_bars = None
    old.save(path)
    found = load(path, device="cpu")
    assert found.error is None and traits_of(found).error is None


@pytest.mark.parametrize("what", ["size", "depths", "squared", "widths", "missing"])
def test_damaged_error_bars_are_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.safetensors"
    model().save(path)
    tensors, header = read_tensors(path, expected_format="napari-emgauss-model", newest_version=99, kind="model")
    told = header[ERROR_BARS]
    if what == "size":
        tensors[ERROR_BARS] = torch.zeros((2, 1, 3, 3), dtype=torch.uint8)
    elif what == "depths":
        told["depths_nm"] = [20.0, 90.0]
    elif what == "squared":
        told["squared"] = [[0.1, -1.0, 0.1]]
    elif what == "widths":
        told["half_widths"] = [[0.5, [1.0, 2.0]]]
    else:
        del header[ERROR_BARS]
    write_tensors(path, tensors, header)
    with pytest.raises(ModelFileError, match="damaged"):
        load(path, device="cpu")


def test_views_of_other_ranges_do_not_change_the_original() -> None:
    bars = even()
    assert replace(bars, grey_range=(255.0,)).render(20.0) == pytest.approx(25.5, rel=1e-3)
    assert bars.render(20.0) == pytest.approx(0.1, rel=1e-3)
