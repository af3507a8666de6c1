"""Every backend that can be used here against the reference in float64: images within 1e-4, gradients within 1e-3.

Rounding decides what happens to a pixel that lies on the edge of a splat (the cut at 1/255) or of its plateau (the
clamp at 0.99). Such pixels are counted, may differ by a 255th per splat, and are left out of the compared gradients.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from napari_emgauss.render import available_backends, splat

NAMES = ("means", "conics", "opacities", "values", "background")
BACKENDS = [s.name for s in available_backends() if s.available and s.name != "reference"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def image_and_gradients(cloud, dtype, device, backend, weights):
    inputs = cloud.inputs(dtype, device)
    image = splat(*inputs[:4], cloud.size, background=inputs[4], backend=backend)
    # A curved loss: the gradient that arrives differs from pixel to pixel.
    (weights.to(image) * (image - 0.3).square()).sum().backward()
    return image.detach().double().cpu(), [v.grad.double().cpu() for v in inputs]


def compare(cloud, backend, *, least_decided):
    device = "cpu" if backend == "cpu" else "cuda"
    at_cut, at_clamp = cloud.undecided()
    decided = (at_cut == 0) & ~at_clamp
    assert decided.float().mean() >= least_decided
    channels = cloud.values.shape[1]
    weights = decided[:, None].double() * torch.linspace(0.5, 1.5, channels)[:, None, None]
    expected, expected_gradients = image_and_gradients(cloud, torch.float64, "cpu", "reference", weights)
    found, gradients = image_and_gradients(cloud, torch.float32, device, backend, weights)
    spread = 1.4 / 255
    assert ((found - expected).abs() <= 1e-4 + spread * at_cut[:, None]).all()
    for name, want, have in zip(NAMES, expected_gradients, gradients, strict=True):
        assert torch.isfinite(have).all(), name
        error = torch.linalg.vector_norm(have - want) / torch.linalg.vector_norm(want).clamp(min=1e-6)
        assert error <= 1e-3, f"{name}: {error:.2e}"


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 30),
    width=st.integers(1, 45),
    batch=st.integers(1, 3),
    channels=st.integers(1, 3),
)
def test_agrees_with_the_reference(make_cloud, cloud_kind, backend, seed, height, width, batch, channels):
    cloud = make_cloud(cloud_kind, seed, size=(height, width), batch=batch, channels=channels)
    compare(cloud, backend, least_decided=0.0)


def test_agrees_on_a_dense_cloud_of_several_bands_and_chunks(make_cloud, backend):
    cloud = make_cloud("tiny", 3, size=(50, 80), batch=1, count=2500)
    compare(cloud, backend, least_decided=0.9)


def test_agrees_where_nothing_comes_through_any_more(make_cloud, backend):
    # 300 splats of 0.99 over each other: the transmittance would be 1e-600.
    cloud = make_cloud("huge", 4, size=(20, 21), batch=1, count=300)
    cloud.opacities[:] = 1 - 1e-6
    cloud.conics[:] = torch.tensor([1e-6, 0.0, 1e-6])
    compare(cloud, backend, least_decided=0.99)


def test_no_splats_at_all_leave_the_background(make_cloud, backend):
    cloud = make_cloud("mixed", 0, size=(3, 5), batch=2, channels=2, count=0)
    compare(cloud, backend, least_decided=1.0)


def test_one_pixel(make_cloud, backend):
    compare(make_cloud("mixed", 8, size=(1, 1), batch=1, count=7), backend, least_decided=1.0)


@pytest.mark.parametrize(
    ("field", "broken"),
    [(f, v) for f in ("means", "conics", "opacities") for v in (float("nan"), float("inf"), -float("inf"))]
    + [("means", 1e30), ("means", -1e30), ("conics", 1e30), ("opacities", -1e30)],
)
def test_a_splat_that_is_not_finite_is_not_drawn_and_gets_no_gradient(make_cloud, backend, field, broken):
    cloud = make_cloud("mixed", 9, batch=1, count=12)
    without = make_cloud("mixed", 9, batch=1, count=12)
    getattr(cloud, field)[0, 4] = broken
    without.opacities[0, 4] = 0.0
    weights = torch.ones(1)
    for name, dtype in (("reference", torch.float64), (backend, torch.float32)):
        device = "cpu" if name in ("reference", "cpu") else "cuda"
        image, gradients = image_and_gradients(cloud, dtype, device, name, weights)
        expected, expected_gradients = image_and_gradients(without, dtype, device, name, weights)
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)
        for have, want in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "conic", [(1.0, 1.0, 1.0), (1.0, 2.0, 1.0), (-1.0, 0.0, -1.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
)
def test_a_conic_that_is_no_ellipse_is_not_drawn(make_cloud, backend, conic):
    cloud = make_cloud("mixed", 10, batch=1, count=3)
    cloud.conics[0, :] = torch.tensor(conic)
    cloud.means[0, :] = 4.5
    weights = torch.ones(1)
    for name, dtype in (("reference", torch.float64), (backend, torch.float32)):
        device = "cpu" if name in ("reference", "cpu") else "cuda"
        image, gradients = image_and_gradients(cloud, dtype, device, name, weights)
        torch.testing.assert_close(image, cloud.background.double().view(1, 1, 1, 1).expand_as(image))
        assert all((g == 0).all() for g in gradients[:4])


def test_shared_attributes_equal_repeated_ones(make_cloud, backend):
    device = "cpu" if backend == "cpu" else "cuda"
    cloud = make_cloud("mixed", 11, batch=3)
    means, conics, opacities, values, background = cloud.inputs(torch.float32, device)
    shared_conics = conics[0].detach().clone().requires_grad_()
    shared_opacities = opacities[0].detach().clone().requires_grad_()
    shared = splat(means, shared_conics, shared_opacities, values, cloud.size, background=background, backend=backend)
    shared.square().sum().backward()
    conics.data[:] = conics.data[:1].clone()
    opacities.data[:] = opacities.data[:1].clone()
    repeated = splat(means, conics, opacities, values, cloud.size, background=background, backend=backend)
    repeated.square().sum().backward()
    torch.testing.assert_close(shared, repeated, rtol=0, atol=0)
    torch.testing.assert_close(shared_conics.grad, conics.grad.sum(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shared_opacities.grad, opacities.grad.sum(0), rtol=1e-4, atol=1e-4)


def test_one_image_is_one_of_a_batch(make_cloud, backend):
    device = "cpu" if backend == "cpu" else "cuda"
    cloud = make_cloud("mixed", 12, batch=2, channels=2)
    means, conics, opacities, values, background = (v.detach() for v in cloud.inputs(torch.float32, device))
    both = splat(means, conics, opacities, values, cloud.size, background=background, backend=backend)
    for k in range(2):
        one = splat(means[k], conics[k], opacities[k], values, cloud.size, background=background, backend=backend)
        torch.testing.assert_close(one, both[k], rtol=0, atol=0)
