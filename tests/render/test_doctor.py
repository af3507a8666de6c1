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
        (None, None, "note", "none used"),
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
