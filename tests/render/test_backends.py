"""The choice of renderer: what it takes, what it says, and that a failure is one line, once."""

from __future__ import annotations

import logging

import pytest
import torch

from napari_emgauss import BackendError
from napari_emgauss.render import _backends, _gsplat, available_backends, choose_backend, splat

CACHED = ("_cpu_status", "_gpu_status", "_best_on_cuda")


@pytest.fixture(autouse=True)
def fresh_answers():
    for name in CACHED:
        getattr(_backends, name).cache_clear()
    yield
    for name in CACHED:
        getattr(_backends, name).cache_clear()


class PretendGpu:
    """A CUDA device as torch would report it, with renderers that run where the tests run."""

    def __init__(self, monkeypatch):
        self.tried: list[str] = []
        self.timed: list[tuple[str, str]] = []
        self.failures: dict[str, Exception] = {}
        self.milliseconds = {"triton": 1.0, "cuda": 2.0}
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Pretend GPU")
        monkeypatch.setattr(_backends, "_why_no_gpu", lambda name, device: None)
        monkeypatch.setattr(_backends, "renderer", lambda name: name)
        monkeypatch.setattr(_backends, "_try", self.attempt)
        monkeypatch.setattr(_backends, "_milliseconds", self.time)
        monkeypatch.setattr(_gsplat, "is_compiled", lambda: self.compiled)
        self.compiled = True

    def time(self, function, device, scale):
        self.timed.append((function, scale))
        return self.milliseconds.get((function, scale)) or self.milliseconds[function]

    def attempt(self, function, device):
        self.tried.append(function)
        if function in self.failures:
            raise self.failures[function]


@pytest.fixture
def gpu(monkeypatch):
    return PretendGpu(monkeypatch)


def test_without_a_gpu_auto_takes_the_cpu_and_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choice = choose_backend()
    assert (choice.backend, choice.device) == ("cpu", "cpu")
    assert "CUDA" in choice.reason
    assert "\n" not in choice.reason
    statuses = {s.name: s for s in available_backends()}
    assert list(statuses) == ["reference", "cpu", "triton", "cuda"]
    assert statuses["reference"].available
    assert statuses["cpu"].available
    assert not statuses["triton"].available
    assert "CUDA" in statuses["triton"].reason


def test_auto_takes_the_faster_renderer_of_the_gpu(gpu):
    choice = choose_backend()
    assert (choice.backend, choice.device) == ("triton", "cuda:0")
    assert "Triton 1.00 ms, gsplat 2.00 ms" in choice.reason
    _backends._best_on_cuda.cache_clear()
    gpu.milliseconds["cuda"] = 0.5
    assert choose_backend("cuda").backend == "cuda"


def test_short_and_long_launches_are_timed_apart_and_once(gpu):
    device, few, many = torch.device("cuda:0"), 64 * 64, 4 * 1024 * 1024
    gpu.milliseconds = {
        ("triton", "small"): 1.0,
        ("cuda", "small"): 2.0,
        ("triton", "large"): 9.0,
        ("cuda", "large"): 5.0,
    }
    for _ in range(3):
        assert _backends.backend_for(device, torch.float32, "auto", few) == "triton"
        assert _backends.backend_for(device, torch.float32, "auto", many) == "cuda"
    assert gpu.timed == [("triton", "small"), ("cuda", "small"), ("triton", "large"), ("cuda", "large")]
    assert gpu.tried == ["triton", "cuda"]


def test_a_compilation_that_failed_is_never_tried_again(gpu, caplog):
    gpu.failures["cuda"] = RuntimeError("Error building extension 'gsplat_cuda': ninja: build stopped\nlog\nlog")
    with caplog.at_level(logging.WARNING):
        for pixels in (10, 10**7) * 5:
            assert _backends.backend_for(torch.device("cuda:0"), torch.float32, "auto", pixels) == "triton"
        for _ in range(3):
            with pytest.raises(BackendError, match=r"cannot be used here: Error building extension .* build stopped\."):
                _backends.backend_for(torch.device("cuda:0"), torch.float32, "cuda")
        available_backends()
    assert gpu.tried == ["triton", "cuda"]
    assert len(caplog.records) == 1
    assert "\n" not in caplog.records[0].getMessage()


def test_gsplat_is_not_compiled_unasked_where_triton_works(gpu):
    gpu.compiled = False
    assert choose_backend().backend == "triton"
    assert gpu.tried == ["triton"]


def test_a_renderer_that_fails_is_tried_once_and_told_in_one_line(gpu, caplog):
    gpu.failures["triton"] = RuntimeError("PTX was compiled for a newer driver\nand more\nand more")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert choose_backend().backend == "cuda"
            assert _backends.backend_for(torch.device("cuda:0"), torch.float32, "auto") == "cuda"
    assert gpu.tried == ["triton", "cuda"]
    assert [r.getMessage() for r in caplog.records] == [
        "The triton renderer cannot be used on cuda:0: PTX was compiled for a newer driver"
    ]


def test_where_no_renderer_of_the_gpu_works_auto_takes_the_cpu(gpu):
    gpu.failures = {"triton": RuntimeError("no driver"), "cuda": ImportError("Error building extension")}
    choice = choose_backend()
    assert (choice.backend, choice.device) == ("cpu", "cpu")
    assert "no driver" in choice.reason
    assert "Error building extension" in choice.reason
    # Asked for by name the device is taken, with the renderer that works anywhere.
    asked = choose_backend("cuda")
    assert (asked.backend, asked.device) == ("reference", "cuda:0")
    with pytest.raises(BackendError, match=r"triton renderer cannot be used here: no driver\."):
        _backends.backend_for(torch.device("cuda:0"), torch.float32, "triton")


def test_float64_on_a_gpu_goes_to_the_reference(gpu):
    assert _backends.backend_for(torch.device("cuda:0"), torch.float64, "auto") == "reference"
    with pytest.raises(BackendError, match="float32 tensors on a CUDA device"):
        _backends.backend_for(torch.device("cuda:0"), torch.float64, "cuda")


def test_devices_of_other_makers_use_the_reference():
    for kind in ("mps", "xpu"):
        assert _backends.backend_for(torch.device(kind), torch.float32, "auto") == "reference"


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("gpu", "torch has no device 'gpu'"),
        ("cuda", "Device cuda cannot be used: .*CUDA"),
        ("mps", "Device mps cannot be used"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused_in_a_sentence(monkeypatch, device, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def no_memory(*_args, device=None, **_options):
        raise RuntimeError(f"{device} is not here\nand a long explanation")

    monkeypatch.setattr(torch, "empty", no_memory)
    with pytest.raises(BackendError, match=words) as caught:
        choose_backend(device)
    assert "\n" not in str(caught.value)


def test_a_device_number_that_does_not_exist_is_refused(gpu):
    with pytest.raises(BackendError, match="no device cuda:3"):
        choose_backend("cuda:3")


def test_a_broken_numba_leaves_the_reference(monkeypatch, caplog):
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choice = choose_backend()
    assert choice.backend == "reference"
    assert "numba does not load" in choice.reason
    assert len(caplog.records) == 1
    with pytest.raises(BackendError, match="The cpu renderer cannot be used here: numba does not load"):
        _backends.backend_for(torch.device("cpu"), torch.float32, "cpu")


def test_trying_a_renderer_finds_a_wrong_picture():
    reference = _backends.renderer("reference")
    _backends._try(reference, torch.device("cpu"))
    with pytest.raises(BackendError, match="differ from the reference"):
        _backends._try(lambda *inputs: 1.02 * reference(*inputs), torch.device("cpu"))


def test_trying_works_inside_a_rendering_without_gradients():
    with torch.inference_mode():
        _backends._try(_backends.renderer("cpu"), torch.device("cpu"))
        image = splat(torch.zeros(1, 2), torch.ones(1, 3), torch.zeros(1), torch.zeros(1, 1), (2, 3))
    assert image.shape == (1, 2, 3)
