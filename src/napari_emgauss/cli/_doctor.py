"""``emgauss doctor``: what is installed, what works, and what to do about what does not."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    topic : str
        What was looked at.
    state : str
        ``ok``, ``note`` (works without it) or ``fault``.
    text : str
        What was found.
    advice : str
        What to do; empty where nothing is to be done.
    """

    topic: str
    state: str
    text: str
    advice: str = ""


def run_doctor_command(arguments: argparse.Namespace) -> int:
    """Print the findings; exit code 1 if a fault keeps the core from working."""
    findings = examine()
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        width = max(len(finding.topic) for finding in findings)
        for finding in findings:
            print(f"{finding.topic.ljust(width)}  {finding.state.ljust(5)}  {finding.text}")
            if finding.advice:
                print(f"{' ' * width}         → {finding.advice}")
    return int(any(finding.state == "fault" for finding in findings))


def examine() -> list[Finding]:
    """All findings, in the order in which a fault would matter."""
    checks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("python", _python),
        ("torch", _torch),
        ("numba", _numba),
        ("triton", _triton),
        ("gsplat", _gsplat),
        ("renderer", _renderer),
        ("formats", _formats),
        ("napari", _napari),
    )
    findings: list[Finding] = []
    for topic, check in checks:
        try:
            findings += check()
        except Exception as error:  # a broken installation may fail in any way, and the doctor must not die of it
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            findings.append(Finding(topic, "fault", f"cannot be used: {first_line}", f"Install {topic} anew."))
    return findings


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python() -> list[Finding]:
    from napari_emgauss import __version__

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        Finding("napari-emgauss", "ok", __version__),
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}, {cores} cores"),
    ]


def _torch() -> list[Finding]:
    import torch

    findings = [Finding("torch", "ok", torch.__version__)]
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        text = f"{name}, CUDA {torch.version.cuda}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        findings.append(Finding("gpu", "ok", text))
    elif getattr(torch.backends, "mps", None) is not None and torch.backends.mps.is_available():
        findings.append(Finding("gpu", "ok", "Apple MPS, through the plain torch renderer"))
    elif torch.version.cuda is None and torch.version.hip is None:
        advice = "There is an NVIDIA driver: install torch's CUDA build to use it." if _has_driver() else ""
        findings.append(Finding("gpu", "note", "none used: this torch is built for the CPU", advice))
    else:
        advice = "Update the NVIDIA driver; 'nvidia-smi' must list the card."
        findings.append(Finding("gpu", "note", f"none found by torch built for CUDA {torch.version.cuda}", advice))
    return findings


def _has_driver() -> bool:
    import shutil

    return shutil.which("nvidia-smi") is not None


def _numba() -> list[Finding]:
    import numba
    import numpy as np

    @numba.njit(parallel=True)
    def total(values: np.ndarray) -> float:
        result = 0.0
        for i in numba.prange(values.size):
            result += values[i]
        return result

    total(np.ones(8))  # the threading layer is chosen by the first parallel run
    layer = numba.threading_layer()
    text = f"{numba.__version__}, threading layer {layer}, {numba.get_num_threads()} threads"
    if layer == "workqueue":
        advice = "pip install tbb: workqueue serves one thread at a time, so scrubbing waits for the fit."
        return [Finding("numba", "note", text, advice)]
    return [Finding("numba", "ok", text)]


def _triton() -> list[Finding]:
    version = _version("triton") or _version("triton-windows")
    if version is None:
        reason = "comes with torch's CUDA build on Linux" if sys.platform == "linux" else "not made for this system"
        return [Finding("triton", "note", f"not installed ({reason}); only for NVIDIA GPUs")]
    return [Finding("triton", "ok", version)]


def _gsplat() -> list[Finding]:
    version = _version("gsplat")
    if version is None:
        return [Finding("gsplat", "note", "not installed; optional, a second CUDA renderer")]
    import shutil

    if shutil.which("nvcc") is None and not os.environ.get("CUDA_HOME"):
        return [
            Finding(
                "gsplat", "note", f"{version}, but no nvcc to compile it with", "Not needed: other renderers serve."
            )
        ]
    return [Finding("gsplat", "ok", version)]


def _renderer() -> list[Finding]:
    from napari_emgauss.render import available_backends, choose_backend

    findings = [
        Finding(f"renderer {status.name}", "ok" if status.available else "note", status.reason)
        for status in available_backends()
    ]
    choice = choose_backend("auto")
    return [*findings, Finding("auto takes", "ok", f"{choice.backend} on {choice.device} ({choice.reason})")]


def _formats() -> list[Finding]:
    found: list[str] = []
    missing: list[str] = []
    for package, what in (
        ("tifffile", "TIFF"),
        ("imagecodecs", "compressed TIFF"),
        ("zarr", "Zarr"),
        ("ome-zarr", "OME-Zarr"),
        ("h5py", "HDF5"),
        ("mrcfile", "MRC"),
    ):
        (missing if _version(package) is None else found).append(what)
    findings = [Finding("formats", "ok", ", ".join(found))]
    if missing:
        advice = "pip install 'napari-emgauss[formats]'"
        findings.append(Finding("formats", "note", f"without {', '.join(missing)}", advice))
    return findings


def _napari() -> list[Finding]:
    version = _version("napari")
    if version is None:
        advice = "pip install 'napari-emgauss[gui]' for the window; the command line needs none."
        return [Finding("napari", "note", "not installed", advice)]
    bindings = [name for name in ("PyQt6", "PySide6", "PyQt5", "PySide2") if importlib.util.find_spec(name) is not None]
    if not bindings:
        return [Finding("napari", "ok", version), Finding("qt", "note", "no Qt binding", "pip install 'napari[pyqt6]'")]
    return [Finding("napari", "ok", version), Finding("qt", "ok", ", ".join(bindings))]
