"""Which renderers can be used here, and which one to take."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from napari_emgauss._errors import BackendError

BackendName = Literal["reference", "cpu", "triton", "cuda"]
Renderer = Callable[[Tensor, Tensor, Tensor, Tensor, tuple[int, int], Tensor], Tensor]

_log = logging.getLogger(__name__)
_lock = threading.RLock()
"""Held while a renderer is tried or timed: two threads that start together try it once."""


@dataclass(frozen=True)
class BackendStatus:
    """Whether a renderer can be used on this machine.

    Parameters
    ----------
    name : str
        ``reference``, ``cpu``, ``triton`` or ``cuda`` (gsplat).
    available : bool
        Whether it works: the GPU renderers are tried on a small cloud and compared with the reference.
    reason : str
        What it runs on, or why it cannot be used: one line.
    """

    name: BackendName
    available: bool
    reason: str


@dataclass(frozen=True)
class BackendChoice:
    """A renderer, the torch device it runs on, and one line that says why."""

    backend: BackendName
    device: str
    reason: str


def available_backends() -> tuple[BackendStatus, ...]:
    """Every renderer, whether it can be used here, and why not. Tries those for the GPU where there is one."""
    return (
        BackendStatus("reference", True, "plain torch, on any device; slow"),
        _cpu_status(),
        _gpu_status("triton", _current_cuda_device()),
        _gpu_status("cuda", _current_cuda_device()),
    )


def choose_backend(device: str | torch.device = "auto") -> BackendChoice:
    """The torch device to work on and its fastest renderer that works.

    Parameters
    ----------
    device : str or torch.device
        ``auto`` takes a CUDA device if one of its renderers works, else the CPU. (On Apple's GPU only the reference
        renderer runs, which is slower than the CPU's own; name ``mps`` to use it all the same.)

    Raises
    ------
    BackendError
        If a device is named that torch does not know or cannot use here.
    """
    if str(device) == "auto":
        return _choose_device()
    named = _usable_device(device)
    if named.type == "cpu":
        return _choice_on_cpu("as requested")
    if named.type == "cuda":
        best = _best_on_cuda(str(named), "large")
        if best is not None:
            return BackendChoice(best[0], str(named), f"{_device_name(named)}; {best[1]}")
    reasons = "; ".join(f"{s.name}: {s.reason}" for s in _gpu_statuses(named)) if named.type == "cuda" else ""
    why = f"no faster renderer works there: {reasons}" if reasons else "the renderer for any torch device"
    return BackendChoice("reference", str(named), why)


def renderer(name: BackendName) -> Renderer:
    """The function behind a renderer's name."""
    if name == "cpu":
        from napari_emgauss.render._cpu import splat_cpu

        return splat_cpu
    if name == "triton":
        from napari_emgauss.render._triton import splat_triton

        return splat_triton
    if name == "cuda":
        from napari_emgauss.render._gsplat import splat_gsplat

        return splat_gsplat
    from napari_emgauss.render._reference import splat_reference

    return splat_reference


def backend_for(device: torch.device, dtype: torch.dtype, wanted: str, pixels: int = 0) -> BackendName:
    """The renderer to use for tensors on a device.

    Parameters
    ----------
    device, dtype
        Of the tensors.
    wanted : str
        A renderer's name, or ``auto``.
    pixels : int
        Of all images of the launch: which renderer is faster may depend on how many there are.

    Raises
    ------
    BackendError
        If the renderer that was asked for does not exist, does not fit the tensors or does not work here.
    """
    if wanted == "reference":
        return "reference"
    if wanted == "auto":
        if dtype != torch.float32:
            return "reference"
        if device.type == "cpu":
            return "cpu" if _cpu_status().available else "reference"
        if device.type == "cuda":
            best = _best_on_cuda(str(device), scale_of(pixels))
            return "reference" if best is None else best[0]
        return "reference"
    if wanted == "cpu":
        if device.type != "cpu" or dtype != torch.float32:
            raise BackendError(f"The cpu renderer takes float32 tensors on the CPU, not {dtype} on {device}.")
        status = _cpu_status()
    elif wanted == "triton" or wanted == "cuda":
        if device.type != "cuda" or dtype != torch.float32:
            raise BackendError(
                f"The {wanted} renderer takes float32 tensors on a CUDA device, not {dtype} on {device}."
            )
        status = _gpu_status(wanted, str(device))
    else:
        raise BackendError(f"There is no renderer called {wanted!r}: choose from reference, cpu, triton and cuda.")
    if not status.available:
        raise BackendError(f"The {wanted} renderer cannot be used here: {status.reason}.")
    return status.name


@cache
def _cpu_status() -> BackendStatus:
    with _lock:
        try:
            import numba

            renderer("cpu")
        except Exception as error:  # a broken numba or LLVM may fail in any way; the reference still works
            reason = f"numba does not load ({_first_line(error)}); pip install --force-reinstall numba"
            _log.warning("The cpu renderer cannot be used: %s", reason)
            return BackendStatus("cpu", False, reason)
        return BackendStatus("cpu", True, f"numba {numba.__version__}")


@cache
def _gpu_status(name: Literal["triton", "cuda"], device: str | None) -> BackendStatus:
    """Whether a GPU renderer works on ``device``: asked once, remembered, a failure logged in one line."""
    with _lock:
        reason = _why_no_gpu(name, device)
        if reason is None and device is not None:
            try:
                _try(renderer(name), torch.device(device))
            except Exception as error:  # compilers, drivers and extensions fail in any way
                reason = _first_line(error)
                _log.warning("The %s renderer cannot be used on %s: %s", name, device, reason)
        if reason is not None:
            return BackendStatus(name, False, reason)
        return BackendStatus(name, True, f"{'Triton' if name == 'triton' else 'gsplat'} on {_device_name(device)}")


def _why_no_gpu(name: Literal["triton", "cuda"], device: str | None) -> str | None:
    """What keeps a GPU renderer from being tried at all."""
    if device is None:
        return why_no_cuda()
    if name == "triton":
        return None if find_spec("triton") is not None else "Triton is not installed; it comes with torch on Linux"
    from napari_emgauss.render import _gsplat

    if _is_amd():
        return "gsplat is for NVIDIA GPUs"
    return _gsplat.why_not()


def why_no_cuda() -> str | None:
    """Why torch cannot use a CUDA device, in a few words; None where it can."""
    if torch.cuda.is_available():
        return None
    if getattr(torch.version, "cuda", None) is None and not _is_amd():
        return "this torch is built without CUDA"
    return "torch finds no CUDA device"


def _is_amd() -> bool:
    """Whether torch's CUDA devices are AMD's."""
    return getattr(torch.version, "hip", None) is not None


def _current_cuda_device() -> str | None:
    return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else None


def _device_name(device: str | torch.device | None) -> str:
    return str(torch.cuda.get_device_name(device)) if device is not None else "no device"


def _gpu_statuses(device: torch.device) -> tuple[BackendStatus, ...]:
    return _gpu_status("triton", str(device)), _gpu_status("cuda", str(device))


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _choose_device() -> BackendChoice:
    missing = why_no_cuda()
    if missing is not None:
        return _choice_on_cpu(missing)
    device = torch.device(_current_cuda_device() or "cuda")
    best = _best_on_cuda(str(device), "large")
    if best is None:
        # The reference on a GPU is many small launches: the CPU's own renderer overtakes it.
        reasons = "; ".join(f"{s.name}: {s.reason}" for s in _gpu_statuses(device))
        return _choice_on_cpu(f"no renderer works on {_device_name(device)}: {reasons}")
    return BackendChoice(best[0], str(device), f"{_device_name(device)}; {best[1]}")


def _choice_on_cpu(why: str) -> BackendChoice:
    status = _cpu_status()
    if status.available:
        return BackendChoice("cpu", "cpu", f"{why}; {status.reason}")
    return BackendChoice("reference", "cpu", f"{why}; {status.reason}")


def _usable_device(device: str | torch.device) -> torch.device:
    try:
        named = torch.device(device)
    except RuntimeError as error:
        raise BackendError(f"torch has no device {str(device)!r}: use auto, cpu, cuda or mps.") from error
    if named.type == "cuda":
        missing = why_no_cuda()
        if missing is not None:
            raise BackendError(f"Device {named} cannot be used: {missing}. Use auto or cpu.")
        index = torch.cuda.current_device() if named == torch.device("cuda") else named.index
        if index >= torch.cuda.device_count():
            raise BackendError(f"There is no device cuda:{index}: torch finds {torch.cuda.device_count()}.")
        return torch.device("cuda", index)
    try:
        torch.empty(1, device=named)
    except Exception as error:  # each device type has errors of its own
        raise BackendError(f"Device {named} cannot be used: {_first_line(error)}. Use auto or cpu.") from error
    return named


Scale = Literal["small", "large"]
_LARGE_PIXELS = 1 << 20
_PROBES: dict[Scale, tuple[int, int, int]] = {"small": (384, 16_000, 2), "large": (1024, 130_000, 4)}
"""Side, splats and images of what the renderers are timed with: a short launch, and one that fills the card."""


def scale_of(pixels: int) -> Scale:
    """Whether a launch of so many pixels is short, so that what surrounds it counts, or fills the card."""
    return "large" if pixels >= _LARGE_PIXELS else "small"


@cache
def _best_on_cuda(device: str, scale: Scale) -> tuple[BackendName, str] | None:
    """The faster of the GPU renderers that work on ``device`` and why; None where neither works.

    Measured once for each scale, and remembered as long as the process lives.

    gsplat compiles for minutes on first use. Unasked that is done only where Triton does not work.
    """
    from napari_emgauss.render import _gsplat

    with _lock:
        triton = _gpu_status("triton", device)
        if triton.available and not _gsplat.is_compiled():
            return "triton", f"{triton.reason.split(' on ')[0]} works, gsplat is not compiled here"
        other = _gpu_status("cuda", device)
        if not triton.available:
            return ("cuda", f"Triton cannot be used ({triton.reason})") if other.available else None
        if not other.available:
            return "triton", f"gsplat cannot be used ({other.reason})"
        ours = _milliseconds(renderer("triton"), torch.device(device), scale)
        theirs = _milliseconds(renderer("cuda"), torch.device(device), scale)
        compared = f"Triton {ours:.2f} ms, gsplat {theirs:.2f} ms for the same image and gradients"
        return ("triton" if ours <= theirs else "cuda"), compared


def _scene(side: int, count: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A cloud as a fit has it: splats of one to two pixels, half transparent; the same at every call."""
    random = torch.Generator().manual_seed(0)
    means = torch.rand((batch, count, 2), generator=random) * side
    stretch = torch.rand((batch, count, 1), generator=random) * 0.6 + 0.2
    tilt = (torch.rand((batch, count, 1), generator=random) - 0.5) * 0.3
    conics = torch.cat([stretch, tilt * stretch, stretch.flip(1)], -1)
    opacities = torch.rand((batch, count), generator=random) * 0.6 + 0.1
    values = torch.rand((count, 1), generator=random)
    means, conics, opacities, values = (v.to(device) for v in (means, conics, opacities, values))
    return means, conics, opacities, values


def _try(function: Renderer, device: torch.device) -> None:
    """Render a small cloud and its gradients, and compare both with the reference.

    Raises
    ------
    BackendError
        If they differ. Whatever the renderer itself raises passes through.
    """
    size = (37, 41)
    results = []
    for render, place, dtype in (
        (renderer("reference"), torch.device("cpu"), torch.float64),
        (function, device, torch.float32),
    ):
        # Whoever asks first may be rendering without gradients.
        with torch.inference_mode(False), torch.enable_grad():
            leaves = [v.to(place, dtype).requires_grad_() for v in _scene(40, 200, 2, torch.device("cpu"))]
            means, conics, opacities, values = leaves
            image = render(means, conics, opacities, values, size, torch.full((1,), 0.3, device=place, dtype=dtype))
            image.square().sum().backward()
        gradients = [v.grad for v in leaves if v.grad is not None]
        results.append([v.detach().double().cpu() for v in (image, *gradients)])
    for want, have in zip(*results, strict=True):
        error = torch.linalg.vector_norm(have - want) / torch.linalg.vector_norm(want)
        if not error < 1e-2:
            raise BackendError("its images or gradients differ from the reference on this GPU")


def _milliseconds(function: Renderer, device: torch.device, scale: Scale) -> float:
    """Time of a launch and its gradients, fastest of ten."""
    side, count, batch = _PROBES[scale]
    times = []
    with torch.inference_mode(False), torch.enable_grad():
        means, conics, opacities, values = (v.requires_grad_() for v in _scene(side, count, batch, device))
        behind = torch.zeros(1, device=device)
        for _ in range(13):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function(means, conics, opacities, values, (side, side), behind).sum().backward()
            end.record()
            end.synchronize()
            times.append(float(start.elapsed_time(end)))
    return min(times[3:])
