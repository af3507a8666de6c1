"""What the chosen fit will take, and that of a patch to try first; kept priors that they can use. No Qt, no napari."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ._estimate import FitPlan, PlanRequest, Work, available_bytes
from ._prior_store import KeptPrior, find_prior, stack_fingerprint
from ._request import FitRequest, PixelRegion

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig

PATCH_SIDE = 128
"""Rows and columns of a patch."""
PATCH_SLICES = 20
"""Most slices of a patch."""
PATCH_PRESET = "fast"


@dataclass(frozen=True)
class PatchPlan:
    """A fit to try first.

    Parameters
    ----------
    overrides : mapping
        Settings that differ from the preset :data:`PATCH_PRESET`.
    plan : FitPlan
        What it will take.
    kept : KeptPrior or None
        What it can use.
    """

    overrides: Mapping[str, Any]
    plan: FitPlan
    kept: KeptPrior | None


@dataclass(frozen=True)
class Reckoning:
    """What the chosen fit will take.

    Parameters
    ----------
    plan : FitPlan
    kept : KeptPrior or None
        What it can use.
    patch : PatchPlan or None
        None where the fit is as small as a patch.
    score : Work or None
        Of a score with these settings; None where there are too few slices.
    """

    plan: FitPlan
    kept: KeptPrior | None
    patch: PatchPlan | None
    score: Work | None = None


class Fingerprints:
    """Fingerprints of stacks that were asked for lately; may be asked from any thread."""

    def __init__(self) -> None:
        self._known: tuple[Any, str] | None = None
        self._lock = threading.Lock()

    def of(self, values: Any) -> str:
        """The fingerprint of a stack; empty where it cannot be read, which a fit will tell."""
        with self._lock:
            if self._known is None or self._known[0] is not values:
                try:
                    self._known = values, stack_fingerprint(values)
                except Exception:
                    return ""
            return self._known[1]


def reckon(
    request: FitRequest,
    values: Any,
    tiles: str,
    fingerprints: Fingerprints,
    plan: Callable[[PlanRequest], FitPlan],
) -> Reckoning:
    """Reckon, for a thread in the background: slices are read, and ``plan`` asks the rendering process.

    Parameters
    ----------
    request : FitRequest
        What is chosen.
    values : array-like
        Data of its layer.
    tiles : str
        As in :class:`PlanRequest`.
    fingerprints : Fingerprints
    plan : callable
        :func:`~napari_emgauss.plugin.process._estimate.plan_fit`, done where there is torch.

    Raises
    ------
    ConfigError, ChildFailedError
        The settings cannot work; the rendering process does not answer.
    """
    from napari_emgauss.evaluation import MIN_SLICES
    from napari_emgauss.fitting import preset

    stack_id = fingerprints.of(values)
    dtype = str(np.dtype(values.dtype))

    def planned(
        one: FitRequest, tiles: str, kept: KeptPrior | None, purpose: Literal["fit", "score"] = "fit"
    ) -> FitPlan:
        _, height, width = one.shape
        return plan(
            PlanRequest(
                z_nm=one.z_nm,
                height=height,
                width=width,
                pixel_size_nm=one.voxel_size_nm[1:],
                preset=one.preset,
                overrides=one.overrides,
                dtype=dtype,
                available_bytes=available_bytes(),
                tiles=tiles,
                learned=kept is not None and one.reuse_prior,
                purpose=purpose,
            )
        )

    config = preset(request.preset, **request.overrides)
    kept = _kept(stack_id, request, config)
    chosen = planned(request, tiles, kept)
    if chosen.tiles is not None:
        kept = None  # tiles learn a prior of their own
        chosen = planned(dataclasses.replace(request, reuse_prior=False), tiles, None)
    score = planned(request, "never", None, "score").work if request.shape[0] >= MIN_SLICES else None
    patch = patch_of(request, (0, 0), request.kept[0])
    if patch is None:
        return Reckoning(chosen, kept, None, score)
    overrides, theirs = _prior_of_patch(stack_id, patch, config)
    patch = dataclasses.replace(patch, overrides=overrides)
    return Reckoning(chosen, kept, PatchPlan(overrides, planned(patch, "never", theirs), theirs), score)


def patch_of(request: FitRequest, centre: tuple[int, int], slice_number: int) -> FitRequest | None:
    """The patch of a stack around a pixel ``(y, x)`` and a slice; None where the whole is no larger.

    The patch stays within what is chosen, and has the settings of :data:`PATCH_PRESET`.
    """
    y0, y1, x0, x1 = request.region
    rows, columns = _span(y0, y1, centre[0], PATCH_SIDE), _span(x0, x1, centre[1], PATCH_SIDE)
    kept = request.kept
    nearest = min(range(len(kept)), key=lambda place: abs(kept[place] - slice_number))
    first, end = _span(0, len(kept), nearest, PATCH_SLICES)
    region: PixelRegion = (*rows, *columns)
    if region == request.region and end - first == len(kept):
        return None
    return dataclasses.replace(
        request,
        region=region,
        slices=(kept[first], kept[end - 1]),
        preset=PATCH_PRESET,
        overrides={},
        tiles=None,
        resume=False,
        patch=True,
    )


def _span(first: int, end: int, centre: int, most: int) -> tuple[int, int]:
    length = min(most, end - first)
    start = min(max(first, centre - length // 2), end - length)
    return start, start + length


def _kept(stack_id: str, request: FitRequest, config: FitConfig) -> KeptPrior | None:
    return find_prior(stack_id, request, config) if stack_id else None


def _used(stack_id: str, patch: FitRequest, config: FitConfig) -> KeptPrior | None:
    return _kept(stack_id, patch, config) if patch.reuse_prior else None


def _prior_of_patch(stack_id: str, patch: FitRequest, config: FitConfig) -> tuple[Mapping[str, Any], KeptPrior | None]:
    """The prior that is wanted for the whole, where that costs no learning; else the quick one."""
    from napari_emgauss.fitting import preset
    from napari_emgauss.priors import FIT_ONLY, prior_info

    quick = preset(patch.preset)
    if config.prior not in (FIT_ONLY, quick.prior):
        kept = _used(stack_id, patch, dataclasses.replace(quick, prior=config.prior))
        if kept is not None or not prior_info(config.prior).learns:
            return {"prior": config.prior}, kept
    return {}, _used(stack_id, patch, quick)
