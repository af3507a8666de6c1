"""What is installed, what works, and what to do about what does not."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_ENOUGH_FREE_BYTES = 2 << 30
"""Of a card's memory: what a fit of ordinary slices takes."""


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
    state: Literal["ok", "note", "fault"]
    text: str
    advice: str = ""


def doctor() -> list[Finding]:
    """Look at everything that fitting, rendering and the window need, in the order in which a fault would matter.

    Never raises: what cannot even be looked at is a fault of its own. Takes some seconds where a GPU renderer is
    compiled for the first time.
    """
    checks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("python", _python),
        ("torch", _torch),
        ("gpu", _gpu),
        ("numba", _numba),
        ("triton", _triton),
        ("gsplat", _gsplat),
        ("renderer", _renderers),
        ("formats", _formats),
        ("napari", _napari),
    )
    findings: list[Finding] = []
    for topic, check in checks:
        try:
            findings += check()
        except Exception as error:  # a broken installation may fail in any way, and the doctor must not die of it
            text = str(error).strip()
            reason = text.splitlines()[0] if text else type(error).__name__
            findings.append(Finding(topic, "fault", f"cannot be used: {reason}", f"Reinstall {topic}."))
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

    if _cuda_version() is not None:
        built = f"built for CUDA {_cuda_version()}"
    elif getattr(torch.version, "hip", None) is not None:
        built = f"built for ROCm {torch.version.hip}"
    else:
        built = "built without CUDA"
    return [Finding("torch", "ok", f"{torch.__version__}, {built}, {torch.get_num_threads()} threads")]


def _cuda_version() -> str | None:
    """The CUDA version that torch is built for; its stubs say None or a string, whichever was built."""
    import torch

    version: str | None = getattr(torch.version, "cuda", None)
    return version


def _gpu() -> list[Finding]:
    import torch

    driver = _driver()
    if torch.cuda.is_available():
        findings = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            findings.append(
                Finding(
                    f"gpu cuda:{index}",
                    "ok",
                    f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
                    f"compute capability {properties.major}.{properties.minor}",
                )
            )
            findings += _free_memory(index)
        if driver is not None:
            findings.append(Finding("driver", "ok", f"NVIDIA {driver[0]}"))
        return findings
    if driver is not None:
        version, name = driver
        if _cuda_version() is None:
            advice = "Install torch's CUDA build to use it: 'Get started' on pytorch.org shows the command."
            return [
                Finding("gpu", "note", f"{name} with driver {version}, but this torch is built without CUDA", advice)
            ]
        advice = f"Update the driver to one for CUDA {_cuda_version()}, or install a torch built for an older CUDA."
        return [Finding("gpu", "note", f"{name} with driver {version}, which torch cannot use", advice)]
    if torch.xpu.is_available():
        text = (
            f"{torch.xpu.get_device_name(0)}, through the plain torch renderer (--device xpu); the CPU's "
            "renderer is faster"
        )
        return [Finding("gpu", "note", text)]
    if torch.backends.mps.is_available():
        text = "Apple's, through the plain torch renderer (--device mps); the CPU's renderer is faster"
        return [Finding("gpu", "note", text)]
    if _cuda_version() is not None:
        advice = "If there is an NVIDIA card, install its driver: 'nvidia-smi' must list the card."
        return [Finding("gpu", "note", "none found; the CPU is used", advice)]
    return [Finding("gpu", "note", "none can be used; the CPU is used")]


def _free_memory(index: int) -> list[Finding]:
    """A note where other programs have taken most of a card."""
    import torch

    try:
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError as error:  # the card is there, but no context can be made: exclusive mode, or out of memory
        reason = str(error).strip().splitlines()[0]
        advice = "Close other programs that use the card, or choose another card with CUDA_VISIBLE_DEVICES."
        return [Finding(f"gpu cuda:{index}", "fault", f"cannot be used: {reason}", advice)]
    if free >= _ENOUGH_FREE_BYTES:
        return []
    text = f"{free / 2**30:.1f} of {total / 2**30:.0f} GiB are free"
    advice = "Close other programs that use the card ('nvidia-smi' lists them), or fit with --device cpu."
    return [Finding(f"gpu cuda:{index}", "note", text, advice)]


def _driver() -> tuple[str, str] | None:
    """Version of NVIDIA's driver and name of the first card, asked of the driver's own tool; None without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        version, name = answer.splitlines()[0].split(",", 1)
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None
    return version.strip(), name.strip()


def _numba() -> list[Finding]:
    import numba

    from napari_emgauss.render import _cpu_kernels as kernels

    layers = [name for name in ("tbb", "omp", "workqueue") if _imports(f"numba.np.ufunc.{name}pool", name)]
    # Told because other packages in the same process may depend on it; the renderer has threads of its own.
    text = f"{numba.__version__}, code for {_processor()}, threading layers {', '.join(layers) or 'none'} (not needed)"
    findings = [Finding("numba", "ok", text)]
    if kernels.uncached:
        advice = "Set NUMBA_CACHE_DIR to a folder that can be written to, and the wait goes away."
        findings.append(Finding("numba", "note", "no folder for machine code: every process compiles it anew", advice))
    return findings


def _imports(module: str, layer: str) -> bool:
    """Whether a threading layer of numba's is there; the module of workqueue is called so without ``pool``."""
    try:
        importlib.import_module(module if layer != "workqueue" else "numba.np.ufunc.workqueue")
    except Exception:  # a missing or too old system library shows as one of several errors
        return False
    return True


def _processor() -> str:
    from llvmlite import binding

    return str(binding.get_host_cpu_name())


def _triton() -> list[Finding]:
    import torch

    version = _version("triton") or _version("triton-windows") or _version("pytorch-triton-rocm")
    if version is None:
        reason = "comes with torch's CUDA build on Linux" if sys.platform == "linux" else "not made for this system"
        if sys.platform == "linux" and torch.cuda.is_available():
            advice = (
                "pip install --force-reinstall torch installs the one that fits; without it the card is hardly used."
            )
            return [Finding("triton", "fault", "not installed, although there is a card", advice)]
        return [Finding("triton", "note", f"not installed ({reason}); only for GPUs")]
    wanted = _triton_of_torch()
    if wanted is not None and wanted != version:
        advice = f"pip install triton=={wanted}, unless the triton renderer works anyway."
        return [Finding("triton", "note", f"{version}, but this torch was made for {wanted}", advice)]
    return [Finding("triton", "ok", version)]


def _triton_of_torch() -> str | None:
    """The version of Triton that the installed torch asks for."""
    for requirement in importlib.metadata.requires("torch") or []:
        found = re.match(r"(?:pytorch-)?triton(?:-rocm)?\s*==\s*([0-9][0-9.]*)", requirement)
        if found is not None:
            return found.group(1)
    return None


def _gsplat() -> list[Finding]:
    from napari_emgauss.render import _gsplat

    version = _version("gsplat")
    if version is None:
        return [Finding("gsplat", "note", "not installed; optional, a second renderer for NVIDIA GPUs")]
    why_not = _gsplat.why_not()
    if why_not is not None:
        advice = (
            "Not needed where Triton works; otherwise install the CUDA toolkit, or a wheel of gsplat built for "
            "this torch."
        )
        return [Finding("gsplat", "note", f"{version}, but {why_not}", advice)]
    if not _gsplat.is_compiled():
        return [Finding("gsplat", "note", f"{version}, not compiled yet; its first use takes several minutes")]
    return [Finding("gsplat", "ok", f"{version}, compiled")]


def _renderers() -> list[Finding]:
    import torch

    from napari_emgauss.render._backends import available_backends, choose_backend

    findings = []
    for status in available_backends():
        state: Literal["ok", "note", "fault"] = "ok" if status.available else "note"
        advice = ""
        if status.name == "cpu" and not status.available:
            state, advice = "fault", "Without it, a fit on the CPU takes tens of times as long: reinstall numba."
        elif status.name == "triton" and not status.available and torch.cuda.is_available():
            advice = "Update the card's driver, then torch; until then, what 'auto takes' names is used."
        findings.append(Finding(f"renderer {status.name}", state, status.reason, advice))
    choice = choose_backend("auto")
    return [*findings, Finding("auto takes", "ok", f"{choice.backend} on {choice.device} ({choice.reason})")]


def _formats() -> list[Finding]:
    """What stacks can be read from here, as the registry of formats says."""
    from napari_emgauss.stack import input_formats

    rows = input_formats()
    found = [row.label for row in rows if not row.missing()]
    if _version("imagecodecs") is not None:
        found.append("compressed TIFF")
    findings = [Finding("formats", "ok", ", ".join(found))]
    for row in rows:
        if row.missing():
            text = f"without {row.label}: {' and '.join(row.missing())} is not installed"
            findings.append(Finding("formats", "note", text, row.install_command))
    if _version("imagecodecs") is None:
        findings.append(Finding("formats", "note", "without compressed TIFF", "pip install imagecodecs"))
    return findings


def _napari() -> list[Finding]:
    version = _version("napari")
    if version is None:
        advice = "pip install 'napari-emgauss[gui]' for the window; the command line does not need it."
        return [Finding("napari", "note", "not installed", advice)]
    findings = [Finding("napari", "ok", version)]
    # Looked for, never imported: what shows findings may have no screen, or another Qt loaded.
    bindings = [name for name in ("PyQt6", "PySide6", "PyQt5", "PySide2") if importlib.util.find_spec(name) is not None]
    if not bindings:
        findings.append(Finding("qt", "fault", "napari has no Qt binding", "pip install 'napari[pyqt6]'"))
    elif len(bindings) > 1:
        advice = f"If the window misbehaves, keep one of them, or set QT_API={bindings[0].lower()}."
        findings.append(Finding("qt", "note", ", ".join(bindings), advice))
    else:
        findings.append(Finding("qt", "ok", bindings[0]))
    if _version("opencv-python") is not None:
        advice = (
            "pip uninstall opencv-python, then pip install opencv-python-headless: its own Qt can break the window."
        )
        findings.append(Finding("opencv-python", "note", "installed beside Qt", advice))
    return findings
