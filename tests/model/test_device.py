"""What devices cannot do is done otherwise, with the same result: shown on the CPU, which claims to be another."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from napari_emgauss._torch import _device
from napari_emgauss._torch._device import constant, has_float64, has_fused_adam, tensor_float32, uploaded, wide
from napari_emgauss.model import _field


def test_constants_are_made_once_and_serve_a_backward_pass():
    like = torch.zeros(2, requires_grad=True)
    with torch.inference_mode():
        first = constant(like, 1.0, 2.5)
    assert first.tolist() == [1.0, 2.5]
    assert constant(like, 1.0, 2.5) is first
    assert constant(like.double(), 1.0, 2.5).dtype == torch.float64
    (like * first).sum().backward()
    assert like.grad.tolist() == [1.0, 2.5]


def test_arrays_are_brought_to_a_gpu_by_page_locked_memory(monkeypatch):
    calls = []

    class Pinned:
        def to(self, device, non_blocking=False):
            calls.append((device.type, non_blocking))
            return "there"

    monkeypatch.setattr(Tensor, "pin_memory", lambda self: Pinned())
    array = np.arange(3.0, dtype=np.float32)
    assert uploaded(array, torch.device("cuda", 0)) == "there"
    assert calls == [("cuda", True)]
    sent = []
    monkeypatch.setattr(Tensor, "to", lambda self, device: sent.append(device.type))
    monkeypatch.setattr(_device, "_PAGE_LOCKED_BYTES", 8)
    uploaded(array, torch.device("cuda", 0))
    assert sent == ["cuda"] and len(calls) == 1
    monkeypatch.undo()
    assert uploaded(array, torch.device("cpu")).tolist() == [0, 1, 2]
    assert uploaded(array, torch.device("meta")).device.type == "meta"


@pytest.mark.parametrize(("properties", "has"), [({"has_fp64": True}, True), ({"has_fp64": False}, False), ({}, False)])
def test_float64_is_asked_of_intels_gpu(monkeypatch, properties, has):
    has_float64.cache_clear()
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: types.SimpleNamespace(**properties))
    assert has_float64(torch.device("xpu", 0)) == has
    has_float64.cache_clear()


def test_float64_where_there_is_some():
    has_float64.cache_clear()
    assert not has_float64(torch.device("mps"))
    assert not has_float64(torch.device("xpu", 0))  # no such driver here
    assert has_float64(torch.device("cuda", 0))
    assert wide(torch.ones(1)).dtype == torch.float64
    has_float64.cache_clear()


def test_without_float64_tensors_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(_device, "has_float64", lambda device: False)
    assert wide(torch.ones(1)).dtype == torch.float32


def test_fused_adam_is_tried():
    has_fused_adam.cache_clear()
    assert has_fused_adam(torch.device("cpu"))
    assert not has_fused_adam(torch.device("meta"))


def test_tensor_float32_is_given_back(monkeypatch):
    before = torch.get_float32_matmul_precision()
    with tensor_float32(torch.device("cpu")):
        assert torch.get_float32_matmul_precision() == before
    with pytest.raises(ValueError, match="in between"), tensor_float32(torch.device("cuda", 0)):
        assert torch.get_float32_matmul_precision() == "high"
        raise ValueError("in between")
    assert torch.get_float32_matmul_precision() == before


def test_planes_are_looked_up_by_indices_as_by_grid_sample():
    random = torch.Generator().manual_seed(0)
    planes = torch.rand(6, 4, 7, dtype=torch.float64, generator=random)
    place = torch.rand(40, 2, dtype=torch.float64, generator=random) * 2.4 - 1.2
    place[:4] = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0], [0.0, 1.0]], dtype=torch.float64)
    results = []
    for look in (_field._sampled, _field.looked_up):
        leaf = planes.clone().requires_grad_()
        found = look(leaf, place)
        found.square().sum().backward()
        results.append((found.detach(), leaf.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-12)


def test_products_by_logarithms_are_the_products():
    factors = torch.rand(50, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.99 + 0.01
    from napari_emgauss.render._reference import product_by_logarithms

    torch.testing.assert_close(product_by_logarithms(factors), torch.cumprod(factors, 0), rtol=1e-10, atol=0)


class NoFloat64(TorchFunctionMode):
    """A device that refuses float64, as Apple's and many of Intel's do."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.dtype == torch.float64:
            raise TypeError(f"{func}: no float64 on this device")
        return out


@pytest.mark.parametrize("field", ["spline", "grid", "mlp"])
def test_a_model_is_rendered_and_trained_without_float64(monkeypatch, field):
    from napari_emgauss.model._config import ModelConfig
    from napari_emgauss.render import EmgaussModel, _reference
    from napari_emgauss.stack import Normalisation

    monkeypatch.setattr(_device, "has_float64", lambda device: False)
    torch.manual_seed(0)
    config = ModelConfig(field=field, mlp_width=8, mlp_layers=3)
    model = EmgaussModel(
        config, np.arange(3) * 40.0, (8.0, 8.0), (9, 11), Normalisation(0.0, 255.0, "uint8"), 12, backend="reference"
    )
    monkeypatch.setattr(torch, "cumprod", lambda *_, **__: pytest.fail("not on Apple's GPU"))
    monkeypatch.setattr(_reference, "_running_product", _reference.product_by_logarithms)
    monkeypatch.setattr(_field, "_sampled", _field.looked_up)
    with torch.no_grad():
        model.cloud_list[0].means.copy_(torch.rand(12, 2) * 9)
        model.cloud_list[0].log_scales.fill_(0.7)
        model.cloud_list[0].values.fill_(0.5)
    with NoFloat64():
        image = model.render_unit([0.3, 1.0])
        image.sum().backward()
    assert image.shape == (2, 1, 9, 11)
    assert float(image.detach().max()) > 0.1
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
