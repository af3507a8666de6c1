"""Where the self-supervised prior calculates in bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def low_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context for convolutions in bfloat16 where the hardware has it, in float32 elsewhere."""
    if device.type not in ("cpu", "cuda"):  # torch's autocast does not know every device, not even to be off there
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device))


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies in bfloat16 natively (AVX512_BF16 or AMX on a CPU)."""
    if device.type == "cuda":
        # Cards before Ampere count as able, by emulation that is slower than float32.
        return torch.cuda.get_device_capability(device)[0] >= 8 or torch.version.hip is not None
    if device.type != "cpu":
        return False
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)


def fast_convolutions(device: torch.device) -> AbstractContextManager[object]:
    """Context in which cuDNN tries its algorithms once for every shape; only for shapes that come again and again."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True)
