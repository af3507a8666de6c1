"""What priors have learned of stacks, kept for other parts of them. Knows neither Qt nor napari.

One file for each stack and way of learning. It serves where it was learned from at least as much as is fitted now:
from less, a prior is worse, and learning anew is worth its time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_emgauss._errors import EmgaussError, ModelFileError

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig
    from napari_emgauss.plugin.process._request import FitRequest
    from napari_emgauss.priors import PriorState

LOGGER = logging.getLogger("napari_emgauss.plugin")

FOLDER_VARIABLE = "NAPARI_EMGAUSS_PRIORS"
MOST_BYTES = 256 << 20
"""Of all kept priors together; those that were used longest ago go first."""
FORMAT = "napari-emgauss-kept-prior"
_VERSION = 1
_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}\.prior\.safetensors")

ENOUGH_PIXELS = 512 * 512
"""Of a slice: from more a prior learns hardly better. Tiles share a prior that was learned from as much."""

_LOOKED_AT = 5
_WINDOW = 256


@dataclass(frozen=True)
class KeptPrior:
    """A prior that has learned on some part of a stack.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Slices, rows and columns that it has learned from.
    learned_at : float
        Seconds since the epoch.
    """

    path: Path
    shape: tuple[int, int, int]
    learned_at: float

    @property
    def sentence(self) -> str:
        """For people."""
        day = time.strftime("%d %b %Y, %H:%M", time.localtime(self.learned_at)).lstrip("0")
        size = " × ".join(str(n) for n in self.shape)
        return f"The prior learned from {size} voxels of this stack on {day}"

    def is_enough_for(self, shape: tuple[int, int, int]) -> bool:
        """Whether it has learned from at least as much as there is in a part of this shape."""
        return _amount(self.shape) >= _amount(shape)


def _amount(shape: tuple[int, int, int]) -> int:
    return shape[0] * min(shape[1] * shape[2], ENOUGH_PIXELS)


def store_folder() -> Path:
    """The folder of kept priors: in the user's own data, or where ``NAPARI_EMGAUSS_PRIORS`` says."""
    from platformdirs import user_data_dir

    return Path(os.environ.get(FOLDER_VARIABLE) or Path(user_data_dir("napari-emgauss")) / "priors")


def stack_fingerprint(values: Any) -> str:
    """What a stack is known again by: its shape, its type, and windows in the middle of a few slices.

    Parameters
    ----------
    values : array-like
        ``(z, y, x)`` or ``(channel, z, y, x)``, possibly lazy. No more than the windows are read.
    """
    shape = tuple(int(n) for n in values.shape)
    *_, depth, height, width = shape
    told = hashlib.sha256(f"{shape} {np.dtype(values.dtype).str}".encode())
    rows, columns = (slice(max(0, (n - _WINDOW) // 2), (n + _WINDOW + 1) // 2) for n in (height, width))
    lead = (slice(None),) * (len(shape) - 3)
    for k in sorted({round(place) for place in np.linspace(0, depth - 1, _LOOKED_AT)}):
        told.update(np.ascontiguousarray(np.asarray(values[(*lead, k, rows, columns)])).tobytes())
    return told.hexdigest()[:16]


def find_prior(stack_id: str, request: FitRequest, config: FitConfig) -> KeptPrior | None:
    """The kept prior that a fit can use, None where there is none. Quick: reads a header."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        path = _path(stack_id, request, config)
        header = _header(path)
        if header is not None:
            slices, rows, columns = (int(n) for n in header["shape"])
            kept = KeptPrior(path, (slices, rows, columns), float(header["learned_at"]))
            return kept if kept.is_enough_for(request.shape) else None
    return None


def read_prior(kept: KeptPrior) -> PriorState | None:
    """What a prior has learned; None where the file has gone or is damaged."""
    from napari_emgauss.model import read_tensors
    from napari_emgauss.priors import PriorState, state_from_tensors

    try:
        tensors, header = read_tensors(kept.path, expected_format=FORMAT, newest_version=_VERSION, kind="prior")
        state = PriorState(state_from_tensors(tensors, header["entries"]))
    except (ModelFileError, KeyError, TypeError, AttributeError) as error:
        LOGGER.warning("A kept prior cannot be used: %s", error)
        return None
    with contextlib.suppress(OSError):
        os.utime(kept.path)  # used now: others go first
    return state


def keep_prior(stack_id: str, request: FitRequest, config: FitConfig, state: PriorState) -> None:
    """Keep what a prior has learned, unless it learned nothing, or what is kept was learned from more.

    That it cannot be kept is no reason to bother anybody: it is in the log.
    """
    from napari_emgauss.model import write_tensors
    from napari_emgauss.priors import state_to_tensors

    tensors, entries = state_to_tensors(state.entries())
    if not tensors:
        return
    try:
        path = _path(stack_id, request, config)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = _header(path)
        if path.exists() and before is None:
            return  # under our name, but not ours
        if before is not None and _amount(tuple(before["shape"])) > _amount(request.shape):
            return
        header = {
            "format": FORMAT,
            "format_version": _VERSION,
            "shape": list(request.shape),
            "learned_at": time.time(),
            "prior": config.prior,
            "name": request.name,
            "entries": entries,
        }
        write_tensors(path, tensors, header)
        tidy(keep=path)
    except (EmgaussError, OSError, ValueError, LookupError, TypeError) as error:
        LOGGER.warning("What the prior has learned cannot be kept: %s", error)


def tidy(keep: Path | None = None) -> None:
    """Remove the kept priors that were used longest ago, until the rest is within bounds.

    What else lies in the folder is not ours and stays.
    """
    with contextlib.suppress(OSError):
        ours = [path for path in store_folder().iterdir() if _NAME.fullmatch(path.name) and path != keep]
        ours.sort(key=_used_at, reverse=True)
        total = _bytes(keep) if keep is not None else 0
        for path in ours:
            total += _bytes(path)
            if total > MOST_BYTES and _header(path) is not None:
                with contextlib.suppress(OSError):  # another napari was faster
                    path.unlink()


def _header(path: Path) -> dict[str, Any] | None:
    """What a kept prior says of itself; None for any other file, and for links."""
    from ._fit_store import header_of

    if path.is_symlink() or not path.is_file():
        return None
    header = header_of(path)
    return header if header.get("format") == FORMAT else None


def _path(stack_id: str, request: FitRequest, config: FitConfig) -> Path:
    """The same for the same stack and the same way of learning, whatever the part."""
    gaps = np.diff(request.z_nm)
    told = {
        "prior": config.prior,
        "seed": config.seed,
        "voxel": [round(float(v), 6) for v in request.voxel_size_nm],
        "gap": round(float(np.median(gaps)), 6),  # gaps decide on the size of a network
        "channels": request.channels,
        "shifts": config.slice_shifts,
        "skip": list(request.skip),  # a bad slice that was left out since must not be remembered
        "masked": request.masked,
    }
    settings = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
    return store_folder() / f"{stack_id}-{settings}.prior.safetensors"


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
