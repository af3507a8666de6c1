"""The report on an installation: true, complete, and never an error itself."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from napari_emgauss.render import _doctor, doctor


def by_topic():
    return {finding.topic: finding for finding in doctor()}


def test_everything_is_looked_at():
    found = by_topic()
    for topic in ("napari-emgauss", "python", "torch", "numba", "triton", "gsplat", "auto takes", "formats"):
        assert topic in found
    assert found["torch"].text.startswith(torch.__version__)
    assert {f"renderer {name}" for name in ("reference", "cpu", "triton", "cuda")} <= set(found)
    assert all("\n" not in f.text + f.advice for f in found.values())
    assert found["renderer cpu"].state == "ok"


def test_qt_and_napari_are_not_imported():
    import subprocess

    code = (
        "import sys; from napari_emgauss.render import doctor; doctor();"
        "print([m for m in ('napari', 'qtpy', 'PyQt6', 'PySide6', 'PyQt5') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240).stdout
    assert out.strip() == "[]"


def test_a_check_that_fails_is_a_fault_and_the_rest_goes_on(monkeypatch):
    def broken():
        raise OSError("libLLVM.so: wrong ELF class\nlong trace")

    monkeypatch.setattr(_doctor, "_numba", broken)
    found = by_topic()
    assert found["numba"].state == "fault"
    assert found["numba"].text == "cannot be used: libLLVM.so: wrong ELF class"
    assert "formats" in found


@pytest.mark.parametrize(
    ("cuda", "driver", "state", "words"),
    [
        (None, ("550.1", "Pretend GPU"), "note", "this torch is built without CUDA"),
        ("12.8", ("470.2", "Pretend GPU"), "note", "which torch cannot use"),
        ("12.8", None, "note", "none found"),
        (None, None, "note", "none can be used"),
    ],
)
def test_a_gpu_that_is_not_used_comes_with_advice(monkeypatch, cuda, driver, state, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(_doctor, "_cuda_version", lambda: cuda)
    monkeypatch.setattr(_doctor, "_driver", lambda: driver)
    (finding,) = _doctor._gpu()
    assert finding.state == state
    assert words in finding.text
    assert bool(finding.advice) == (cuda is not None or driver is not None)


def test_a_working_gpu_is_told_with_its_memory_and_driver(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    properties = types.SimpleNamespace(name="Pretend GPU", total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (70 * 2**30, 80 * 2**30))
    monkeypatch.setattr(_doctor, "_driver", lambda: ("550.1", "Pretend GPU"))
    gpu, driver = _doctor._gpu()
    assert gpu.text == "Pretend GPU, 80 GiB, compute capability 9.0"
    assert driver.text == "NVIDIA 550.1"


def test_the_driver_is_asked_of_its_own_tool(monkeypatch):
    monkeypatch.setattr(_doctor.shutil, "which", lambda name: "nvidia-smi")
    answers = types.SimpleNamespace(stdout="550.54.15, NVIDIA H200\n550.54.15, NVIDIA H200\n")
    monkeypatch.setattr(_doctor.subprocess, "run", lambda *a, **k: answers)
    assert _doctor._driver() == ("550.54.15", "NVIDIA H200")
    answers.stdout = "NVIDIA-SMI has failed"
    assert _doctor._driver() is None


@pytest.mark.parametrize(("present", "state"), [((), "fault"), (("PySide6",), "ok"), (("PyQt5", "PyQt6"), "note")])
def test_no_qt_or_two_of_them_is_told(monkeypatch, present, state):
    monkeypatch.setattr(_doctor, "_version", lambda package: "1.0" if package == "napari" else None)
    monkeypatch.setattr(_doctor.importlib.util, "find_spec", lambda name: name in present or None)
    finding = _doctor._napari()[-1]
    assert finding.topic == "qt"
    assert finding.state == state
    assert bool(finding.advice) == (state != "ok")


def test_opencv_with_its_own_qt_is_warned_of(monkeypatch):
    monkeypatch.setattr(_doctor, "_version", lambda package: "1.0")
    assert _doctor._napari()[-1].topic == "opencv-python"
    assert "headless" in _doctor._napari()[-1].advice


def test_a_full_card_and_one_that_refuses_are_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (2**29, 80 * 2**30))
    (full,) = _doctor._free_memory(0)
    assert (full.state, full.text) == ("note", "0.5 of 80 GiB are free")
    assert "nvidia-smi" in full.advice

    def refuses(index):
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nmore")

    monkeypatch.setattr(torch.cuda, "mem_get_info", refuses)
    (refusing,) = _doctor._free_memory(1)
    assert refusing.state == "fault"
    assert refusing.text.endswith("busy or unavailable")
    assert refusing.advice


def test_intels_gpu_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "get_device_name", lambda index: "Pretend Arc")
    monkeypatch.setattr(_doctor, "_driver", lambda: None)
    (finding,) = _doctor._gpu()
    assert finding.text.startswith("Pretend Arc, through the plain torch renderer (--device xpu)")


@pytest.mark.parametrize(
    ("installed", "asked", "card", "state", "words"),
    [
        (None, None, False, "note", "only for GPUs"),
        (None, "3.4.0", True, "fault", "though there is a card"),
        ("3.4.0", "3.4.0", True, "ok", "3.4.0"),
        ("3.9.0", "3.4.0", True, "note", "made for 3.4.0"),
        ("3.9.0", None, False, "ok", "3.9.0"),
    ],
)
def test_a_triton_that_is_missing_or_of_another_torch_is_told(monkeypatch, installed, asked, card, state, words):
    monkeypatch.setattr(_doctor, "_version", lambda package: installed if package == "triton" else None)
    monkeypatch.setattr(
        _doctor.importlib.metadata,
        "requires",
        lambda package: ["sympy", *([f'triton=={asked}; platform_system == "Linux"'] if asked else [])],
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    monkeypatch.setattr(_doctor.sys, "platform", "linux")
    (finding,) = _doctor._triton()
    assert finding.state == state
    assert words in finding.text
    assert bool(finding.advice) == (state != "ok" and card)


@pytest.mark.parametrize(
    ("why", "compiled", "state", "words"),
    [
        ("gsplat would have to be compiled, and there is no CUDA toolkit (nvcc) here", False, "note", "(nvcc)"),
        (None, False, "note", "not compiled yet"),
        (None, True, "ok", "compiled"),
    ],
)
def test_gsplats_state_is_told(monkeypatch, why, compiled, state, words):
    from napari_emgauss.render import _gsplat

    monkeypatch.setattr(_doctor, "_version", lambda package: "1.5.3")
    monkeypatch.setattr(_gsplat, "why_not", lambda: why)
    monkeypatch.setattr(_gsplat, "is_compiled", lambda: compiled)
    (finding,) = _doctor._gsplat()
    assert (finding.state, words in finding.text) == (state, True)
    assert bool(finding.advice) == (why is not None)


def test_renderers_that_fail_on_a_card_come_with_advice(monkeypatch):
    from napari_emgauss.render import _backends

    statuses = (
        _backends.BackendStatus("reference", True, "plain torch"),
        _backends.BackendStatus("cpu", False, "numba does not load (no LLVM)"),
        _backends.BackendStatus("triton", False, "PTX was compiled for a newer driver"),
        _backends.BackendStatus("cuda", False, "gsplat is not installed"),
    )
    monkeypatch.setattr(_backends, "available_backends", lambda: statuses)
    monkeypatch.setattr(_backends, "choose_backend", lambda device: _backends.BackendChoice("reference", "cpu", "why"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = {finding.topic: finding for finding in _doctor._renderers()}
    assert found["renderer cpu"].state == "fault" and "numba" in found["renderer cpu"].advice
    assert found["renderer triton"].state != "ok" and found["renderer triton"].text.startswith("PTX")
    assert "driver" in found["renderer triton"].advice
    assert found["auto takes"].text == "reference on cpu (why)"


def test_a_numba_without_a_place_for_machine_code_is_told(monkeypatch):
    from napari_emgauss.render import _cpu_kernels

    monkeypatch.setattr(_cpu_kernels, "uncached", ["blend"])
    finding = _doctor._numba()[-1]
    assert finding.state == "note" and "NUMBA_CACHE_DIR" in finding.advice
    assert "threading layers" in _doctor._numba()[0].text
