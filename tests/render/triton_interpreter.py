"""Triton's kernels in Triton's interpreter. Not collected: ``test_triton`` runs it in a process of its own."""

from __future__ import annotations

import pytest
import torch

from napari_emgauss.render import _triton
from napari_emgauss.render._reference import splat_reference


def compare(function, cloud):
    at_cut, at_clamp = cloud.undecided()
    decided = ((at_cut == 0) & ~at_clamp)[:, None]
    results = []
    for render, dtype in ((splat_reference, torch.float64), (function, torch.float32)):
        inputs = cloud.inputs(dtype)
        image = render(*inputs[:4], cloud.size, inputs[4])
        (decided * (image - 0.3).square()).sum().backward()
        results.append([v.double() for v in (image.detach() * decided, *(v.grad for v in inputs))])
    (want_image, *want), (have_image, *have) = results
    torch.testing.assert_close(have_image, want_image, rtol=0, atol=1e-4)
    for expected, found in zip(want, have, strict=True):
        error = torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected).clamp(min=1e-6)
        assert error <= 1e-3


def test_agrees_with_the_reference(make_cloud, cloud_kind):
    cloud = make_cloud(cloud_kind, 3, size=(9, 20), batch=2, count=10)
    compare(_triton.splat_triton, cloud)


@pytest.mark.parametrize("channels", [2, 3, 9])
def test_channels_go_in_groups(make_cloud, channels):
    cloud = make_cloud("mixed", 4, size=(11, 18), batch=1, channels=channels, count=9)
    compare(_triton.splat_triton, cloud)


@pytest.mark.parametrize(("tile", "block"), [(3, 1024), (3, 5), (1024, 5)])
def test_lists_that_overflow_change_nothing(make_cloud, monkeypatch, tile, block):
    monkeypatch.setattr(_triton._Grid, "capacity", tile)
    monkeypatch.setattr(_triton._Grid, "block_capacity", block)
    cloud = make_cloud("mixed", 5, size=(17, 36), batch=2, count=18)
    compare(_triton.splat_triton, cloud)


def test_nothing_comes_through_a_deep_pile(make_cloud):
    cloud = make_cloud("huge", 6, size=(4, 5), batch=1, count=25)
    cloud.opacities[:] = 1 - 1e-6
    cloud.conics[:] = torch.tensor([1e-6, 0.0, 1e-6])
    compare(_triton.splat_triton, cloud)


def test_what_is_not_finite_is_not_drawn(make_cloud):
    cloud = make_cloud("mixed", 7, size=(9, 12), batch=1, count=8)
    cloud.means[0, 0, 0] = float("nan")
    cloud.conics[0, 1] = float("inf")
    cloud.opacities[0, 2] = float("nan")
    cloud.conics[0, 3] = torch.tensor([1.0, 2.0, 1.0])
    cloud.means[0, 4] = 1e30
    inputs = cloud.inputs(torch.float32)
    image = _triton.splat_triton(*inputs[:4], cloud.size, inputs[4])
    image.square().sum().backward()
    reference = splat_reference(*(v.detach().double() for v in inputs[:4]), cloud.size, inputs[4].detach().double())
    torch.testing.assert_close(image.double(), reference, rtol=0, atol=1e-5)
    for leaf in inputs[:3]:
        assert torch.isfinite(leaf.grad).all()
        assert (leaf.grad[0, :5] == 0).all()


def test_an_empty_cloud_is_the_background(make_cloud):
    cloud = make_cloud("mixed", 8, size=(3, 5), batch=2, channels=2, count=0)
    inputs = cloud.inputs(torch.float32)
    image = _triton.splat_triton(*inputs[:4], cloud.size, inputs[4])
    image.sum().backward()
    assert torch.equal(image, cloud.background[None, :, None, None].expand_as(image))
    assert torch.equal(inputs[4].grad, torch.full((2,), 30.0))


def test_lists_grow_with_the_density_within_limits():
    grid = _triton._Grid(height=768, width=1024, count=131072)
    assert grid.tiles == (48, 64)
    assert grid.blocks == (12, 16)
    # One splat per six pixels: 43 a tile and 683 a block on average.
    assert grid.capacity == 512
    assert grid.block_capacity == 4096
    assert _triton._Grid(1000, 1000, 10).capacity == 64
    assert _triton._Grid(10, 10, 10**6).capacity == 1024
