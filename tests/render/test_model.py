"""The renderable model: depths in nm, regions, dtypes, threads, copies."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest
import torch

from napari_emgauss._errors import ConfigError, DepthError
from napari_emgauss.model import ModelConfig, Thickness
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import Normalisation

Z_NM = np.array([10.0, 60.0, 110.0, 210.0])


def make_model(channels: int = 1, dtype: str = "uint8", **settings: Any) -> EmgaussModel:
    torch.manual_seed(1)
    config = ModelConfig(field="spline", channels=channels, **settings)
    model = EmgaussModel(config, Z_NM, (5.0, 4.0), (16, 24), Normalisation(0.0, 255.0, dtype), 90)
    with torch.no_grad():
        for cloud in model.cloud_list:
            cloud.means.copy_(torch.rand(90, 2) * torch.tensor([24.0, 16.0]))
            cloud.values.copy_(torch.rand(cloud.values.shape))
            cloud.log_scales.fill_(0.7)
            for knot in cloud.field.parameters():
                knot.add_(0.3 * torch.randn(knot.shape))
    return model


def test_shapes_and_dtypes() -> None:
    model = make_model()
    assert model.render(60.0).shape == (16, 24) and model.render(60.0).dtype == np.uint8
    assert model.render([60.0, 71.5, 210.0]).shape == (3, 16, 24)
    assert model.render(np.array([60.0])).shape == (1, 16, 24)
    many = make_model(channels=3, dtype="float32")
    assert many.render(60.0).shape == (3, 16, 24) and many.render(60.0).dtype == np.float32
    assert many.render([60.0, 61.0]).shape == (2, 3, 16, 24)
    np.testing.assert_array_equal(model.render([60.0, 71.5])[1], model.render(71.5))


@pytest.mark.parametrize("window_slices", [None, 3])
def test_a_region_is_that_part_of_the_slice(window_slices: int | None) -> None:
    model = make_model(dtype="float32", window_slices=window_slices)
    whole = model.render(77.0)
    np.testing.assert_allclose(model.render(77.0, region=(3, 10, 5, 21)), whole[3:10, 5:21], atol=0.05)
    # Every second column and row of twice as many samples per pixel is not the pixel, but their neighbourhood is.
    fine = model.render(77.0, region=(2, 6, 4, 10), shape=(12, 18))
    assert fine.shape == (12, 18)
    np.testing.assert_allclose(fine[1::3, 1::3], whole[2:6, 4:10], atol=0.05)  # middle of three samples a pixel
    coarse = model.render(77.0, shape=(16, 8))
    np.testing.assert_allclose(coarse, whole[:, 1::3], atol=0.05)


def test_depths_and_regions_outside_are_refused() -> None:
    model = make_model()
    assert model.render(10.0 - 1e-9).shape == (16, 24)  # rounding is forgiven
    for z in (9.0, 211.0, float("nan")):
        with pytest.raises(DepthError, match="from 10 to 210 nm"):
            model.render(z)
    for region in ((0, 17, 0, 5), (-1, 4, 0, 5), (4, 4, 0, 5), (0, 4, 7, 5)):
        with pytest.raises(DepthError, match="Region"):
            model.render(60.0, region=region)
    with pytest.raises(DepthError, match="one row"):
        model.render(60.0, shape=(0, 5))


def test_windows_blend() -> None:
    model = make_model(dtype="float32", window_slices=3)
    assert len(model.cloud_list) == 1  # 4 slices are not worth cutting
    z = np.linspace(0.0, 500.0, 11)
    config = ModelConfig(field="spline", window_slices=4)
    cut = EmgaussModel(config, z, (5.0, 5.0), (8, 9), Normalisation(0.0, 1.0, "float32"), 40)
    assert len(cut.cloud_list) == 3
    with torch.no_grad():
        for grey, cloud in zip((0.2, 0.6, 0.4), cut.cloud_list, strict=True):
            cloud.means.copy_(torch.rand(40, 2) * torch.tensor([9.0, 8.0]))
            cloud.log_scales.fill_(2.0)
            cloud.opacity_logits.fill_(4.0)
            cloud.values.fill_(grey)
    border = cut.windows[0].fade_out
    assert border is not None
    middle = sum(border) / 2 * 500.0
    assert cut.render(middle).mean() == pytest.approx(0.4, abs=1e-3)  # half of each
    assert cut.render(border[0] * 500.0).mean() == pytest.approx(0.2, abs=1e-3)
    assert cut.render([0.0, 500.0, middle])[:, 4, 4] == pytest.approx([0.2, 0.4, 0.4], abs=1e-3)


def test_snapshot_is_independent_and_publish_counts() -> None:
    model = make_model()
    copy = model.snapshot()
    before = model.render(77.0)
    np.testing.assert_array_equal(copy.render(77.0), before)
    other = make_model()
    with torch.no_grad():
        other.cloud_list[0].values.mul_(0.5)
    version = model.version
    model.publish(other)
    assert model.version == version + 1
    assert not np.array_equal(model.render(77.0), before)
    np.testing.assert_array_equal(copy.render(77.0), before)


def test_rendering_while_another_thread_publishes() -> None:
    model, dark, light = make_model(), make_model(), make_model()
    with torch.no_grad():
        dark.cloud_list[0].values.fill_(0.0)
        light.cloud_list[0].values.fill_(1.0)
    model.publish(dark)
    allowed = {dark.render(77.0).tobytes(), light.render(77.0).tobytes()}
    seen: set[bytes] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.add(model.render(77.0).tobytes())

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for k in range(60):
        model.publish(light if k % 2 else dark)
    stop.set()
    for thread in threads:
        thread.join()
    assert seen and seen <= allowed  # never half of one and half of the other


def test_render_unit_is_differentiable_in_every_parameter() -> None:
    model = make_model()
    model.render_unit([0.3]).square().sum().backward()
    for name in ("means", "log_scales", "rotations", "opacity_logits", "values"):
        gradient = getattr(model.cloud_list[0], name).grad
        assert gradient is not None and torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_a_thick_slice_is_the_mean_of_the_planes_within_it() -> None:
    """Slices of half a gap, at 10, 60, 110 and 210 nm: at 110 it reaches from 97.5 to 135."""
    planes, thick = make_model(dtype="float32"), make_model(dtype="float32", thickness_gaps=0.5)
    within = planes.render([*np.linspace(97.5, 110, 201)[:-1], *np.linspace(110, 135, 201)])
    mean = (within[:200].mean(axis=0) + within[200:].mean(axis=0)) / 2
    assert np.abs(thick.render(110.0) - mean).max() < 0.6
    assert np.abs(planes.render(110.0) - mean).max() > 3
    # Nothing is known above the first slice: that half counts as its middle.
    within = planes.render(np.linspace(10, 22.5, 201)).mean(axis=0)
    assert np.abs(thick.render(10.0) - (planes.render(10.0) + within) / 2).max() < 0.6


def test_thick_slices_are_the_same_alone_and_together_in_part_and_as_a_copy() -> None:
    model = make_model(thickness_gaps=1.0, window_slices=3)
    depths = [10.0, 85.0, 160.0, 210.0]
    together = model.render(depths)
    np.testing.assert_array_equal(together, np.stack([model.render(z) for z in depths]))
    np.testing.assert_array_equal(model.snapshot().render(depths), together)
    np.testing.assert_array_equal(copy.deepcopy(model).render(depths), together)
    part = model.render(depths, region=(3, 10, 5, 21)).astype(int)
    assert np.abs(part - together[:, 3:10, 5:21]).max() <= 1


def test_a_slice_reaches_into_each_gap_by_its_own_measure() -> None:
    t = np.array([0.0, 0.2, 1.0])
    root = 0.6**0.5
    assert Thickness(1.0, 3).depths(t, 0.2) == pytest.approx([0.2 - 0.1 * root, 0.2, 0.2 + 0.4 * root])
    assert Thickness(1.0, 3).depths(t, 0.0) == pytest.approx([0.0, 0.0, 0.1 * root])
    # A tenth of the wide gap beyond the slice: 0.4 of a gap lie before it.
    assert Thickness(1.0, 3).depths(t, 0.28) == pytest.approx([0.2 - (root / 2 - 0.1) * 0.2, 0.28, 0.28 + 0.4 * root])
    assert Thickness(0.0).depths(t, 0.3) == pytest.approx([0.3]) and Thickness(0.0).weights == [1.0]
    assert sum(Thickness(1.0).weights) == pytest.approx(1.0)
    with pytest.raises(ConfigError, match=r"thickness_gaps is 1\.5"):
        ModelConfig(thickness_gaps=1.5)
