"""The reference against arithmetic done by hand and against finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from napari_emgauss.render import splat
from napari_emgauss.render._reference import splat_reference

ROUND = [[1.0, 0.0, 1.0]]


def render(means, conics, opacities, values, size, background=0.0):
    tensors = [torch.tensor(v, dtype=torch.float64) for v in (means, conics, opacities, values)]
    return splat(*tensors, size, background=background, backend="reference")


def test_one_splat_is_a_gaussian_cut_where_it_adds_less_than_a_255th():
    image = render([[2.5, 1.5]], ROUND, [0.5], [[0.8]], (3, 9))
    assert image.shape == (1, 3, 9)
    assert image[0, 1, 2].item() == pytest.approx(0.4)
    assert image[0, 0, 3].item() == pytest.approx(0.8 * 0.5 * math.exp(-1.0))
    # 0.5 exp(-9/2) = 1/180 is drawn, 0.5 exp(-16/2) = 1/5962 is not.
    assert image[0, 1, 5].item() == pytest.approx(0.8 * 0.5 * math.exp(-4.5))
    assert image[0, 1, 6].item() == 0.0


def test_splats_blend_in_index_order_before_the_background():
    image = render([[0.5, 0.5]] * 2, ROUND * 2, [0.5, 0.25], [[1.0], [0.4]], (1, 1), background=0.2)
    assert image.item() == pytest.approx(0.5 * 1.0 + 0.5 * 0.25 * 0.4 + 0.5 * 0.75 * 0.2)


def test_no_splat_covers_more_than_99_percent():
    image = render([[0.5, 0.5]], ROUND, [0.9999], [[1.0]], (1, 1), background=0.5)
    assert image.item() == pytest.approx(0.99 + 0.01 * 0.5)


def test_off_diagonal_of_the_conic_tilts_the_ellipse():
    image = render([[3.5, 3.5]], [[1.0, -0.9, 1.0]], [0.9], [[1.0]], (7, 7))[0]
    assert image[4, 4].item() == pytest.approx(0.9 * math.exp(-0.1))
    assert image[2, 4].item() == pytest.approx(0.9 * math.exp(-1.9))


def test_tiles_change_nothing(make_cloud, cloud_kind):
    cloud = make_cloud(cloud_kind, seed=5)
    inputs = cloud.inputs(torch.float64)
    whole = splat_reference(*inputs[:4], cloud.size, inputs[4], tile=None)
    tiled = splat_reference(*inputs[:4], cloud.size, inputs[4], tile=8)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-13)


def test_splats_taken_a_few_at_a_time_change_nothing(make_cloud, monkeypatch):
    cloud = make_cloud("mixed", seed=6)

    def image_and_gradients():
        inputs = cloud.inputs(torch.float64)
        image = splat_reference(*inputs[:4], cloud.size, inputs[4])
        image.square().sum().backward()
        return [image.detach(), *(v.grad for v in inputs)]

    at_once = image_and_gradients()
    monkeypatch.setattr("napari_emgauss.render._reference._ELEMENTS_AT_ONCE", 3 * 23 * 32)
    for expected, found in zip(at_once, image_and_gradients(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_finite_differences(make_cloud):
    # Away from the cut and the clamp, where the formula jumps: their pixels are left out of the sum.
    cloud = make_cloud("mixed", seed=7, size=(3, 4), batch=1, count=4, channels=2)
    at_cut, at_clamp = cloud.undecided(margin=1e-3)
    keep = ((at_cut == 0) & ~at_clamp)[:, None]
    assert keep.float().mean() > 0.8

    def function(means, conics, opacities, values, background):
        return splat_reference(means, conics, opacities, values, cloud.size, background) * keep

    assert torch.autograd.gradcheck(function, cloud.inputs(torch.float64), eps=1e-7, atol=1e-6)


def test_float32_and_bfloat16_keep_their_dtype(make_cloud):
    cloud = make_cloud("mixed", seed=1)
    for dtype in (torch.float32, torch.bfloat16):
        inputs = cloud.inputs(dtype)
        image = splat(*inputs[:4], cloud.size, background=inputs[4], backend="reference")
        assert image.dtype == dtype
        assert torch.isfinite(image).all()
