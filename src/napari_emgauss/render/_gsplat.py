"""gsplat's CUDA rasteriser with our own 2D means and conics: its low-level operations alone, depths as cameras.

Written for gsplat 1.5. It differs from the formula in two constants: it clamps a splat at 0.999 instead of 0.99, and
leaves a pixel once less than 1e-4 would come through. Both show only where splats are opaque: up to one hundredth in a
pixel that lies under an opacity above 0.99.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from napari_emgauss.render._formula import MIN_ALPHA

_TILE = 16
_WIDEST = float(1 << 30)
"""Largest radius in pixels that is handed over: it has to fit 32 bits."""


def why_not() -> str | None:
    """The reason why gsplat cannot be used, as far as can be said without compiling it; None where it may."""
    if find_spec("gsplat") is None:
        return "gsplat is not installed"
    if is_compiled() or _has_toolkit():
        return None
    return "gsplat would have to be compiled, and there is no CUDA toolkit (nvcc) here"


def is_compiled() -> bool:
    """Whether gsplat's extension lies ready: shipped with it, or compiled on this machine before."""
    spec = find_spec("gsplat")
    folders = [Path(p) for p in (spec.submodule_search_locations or [])] if spec is not None else []
    if any(file.suffix in (".so", ".pyd") for folder in folders for file in folder.glob("csrc*")):
        return True
    # gsplat looks for the toolkit even to load what it compiled before.
    return bool(folders) and _has_toolkit() and any(_compiled_before())


def _compiled_before() -> list[Path]:
    """What torch's builder of extensions left of gsplat, under any CUDA version for this Python."""
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    if given:
        return list(Path(given).glob("gsplat_cuda/gsplat_cuda.*"))
    from torch.utils.cpp_extension import get_default_build_root

    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    return list(Path(get_default_build_root()).glob(f"{python}*/gsplat_cuda/gsplat_cuda.*"))


def _has_toolkit() -> bool:
    """Whether nvcc is where torch and gsplat look for it."""
    if shutil.which("nvcc") is not None:
        return True
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    program = "nvcc.exe" if sys.platform == "win32" else "nvcc"
    return any(Path(home, "bin", program).is_file() for home in homes if home)


@cache
def _operations() -> ModuleType:
    """The Python functions of gsplat, its extension loaded or compiled, which takes minutes the first time."""
    import gsplat

    # It reports its compilation on stdout, where a command's own output goes.
    with contextlib.redirect_stdout(sys.stderr):
        from gsplat.cuda._backend import _C
    if _C is None:
        raise ImportError("gsplat found no CUDA toolkit to compile its extension with")
    module: ModuleType = gsplat
    return module


def splat_gsplat(
    means: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    size: tuple[int, int],
    background: Tensor,
) -> Tensor:
    """Blend splats in index order; arguments and result as in ``splat_reference``, float32 on a CUDA device."""
    operations = _operations()
    height, width = size
    batch, count = opacities.shape
    channels = values.shape[1]
    if count == 0:
        return background[None, :, None, None].expand(batch, channels, height, width).clone()
    tiles_x, tiles_y = -(-width // _TILE), -(-height // _TILE)
    with torch.no_grad():
        radii = _radii(means, conics, opacities)
        # gsplat sorts by the bits of the depth, so the bits of the index are the depth: array order for any number.
        depths = torch.arange(count, dtype=torch.int32, device=means.device).view(torch.float32)
        _, keys, splats = operations.isect_tiles(
            means, radii, depths.expand(batch, count).contiguous(), _TILE, tiles_x, tiles_y
        )
        offsets = operations.isect_offset_encode(keys, batch, tiles_x, tiles_y).reshape(batch, tiles_y, tiles_x)
    image, _ = operations.rasterize_to_pixels(
        means,
        conics,
        values.expand(batch, count, channels),
        opacities,
        width,
        height,
        _TILE,
        offsets,
        splats,
        backgrounds=background.expand(batch, channels),
    )
    return image.permute(0, 3, 1, 2)


def _radii(means: Tensor, conics: Tensor, opacities: Tensor) -> Tensor:
    """``(B, N, 2)`` int32 half sides of the visible boxes, x and y; 0 for what is invisible or invalid."""
    a, b, c = conics.double().unbind(-1)
    determinant = a * c - b * b
    finite = torch.isfinite(means).all(-1) & torch.isfinite(determinant) & torch.isfinite(opacities)
    drawn = finite & (a > 0) & (c > 0) & (determinant > 0) & (opacities > MIN_ALPHA)
    cut = torch.log((opacities.double() / MIN_ALPHA).clamp(min=1.0))
    reach = torch.sqrt(2 * cut[..., None] * torch.stack([c, a], -1) / determinant[..., None])
    reach = torch.where(drawn[..., None], torch.ceil(reach + 0.01), 0.0)
    return reach.clamp(max=_WIDEST).to(torch.int32).contiguous()
