"""The priors that come with the package, one row each. A new one is a module with a factory and a row here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_emgauss._errors import ConfigError

from ._info import PriorCost, PriorInfo

if TYPE_CHECKING:
    from napari_emgauss.priors._protocol import Prior

FIT_ONLY = "ema"
"""The paper's prior: the fit's own teacher. It has a row as all have, but exists within a fit only."""

_CLASSICAL = "napari_emgauss.priors.classical._priors"
_FLOW_PRIORS = "napari_emgauss.priors.classical._flow_prior"
_LEARNED = "napari_emgauss.priors.learned._self"
_LEARNED_PRIOR = "napari_emgauss.priors.learned._learned_prior"
_AUTO = "napari_emgauss.priors._auto"

_EFFORTS = ("fast", "default", "best")
# Pixel by pixel it is a fraction of what flow takes; which fraction, hardly matters.
_PIXELWISE = PriorCost(label_pixel_s=2e-8)
# As ``benchmarks/calibrate.py fit`` has it (SECONDS_PER_LABEL_PIXEL).
_FLOW = PriorCost(label_pixel_s=1.2e-6)

ROWS = (
    PriorInfo(
        "nearest",
        f"{_CLASSICAL}:nearest_prior",
        summary="repeats the nearest slice",
        suits="to see what a stack shows without any interpolation",
        colour="#b4b9c0",
        cost=_PIXELWISE,
        in_tables=True,
    ),
    PriorInfo(
        "linear",
        f"{_CLASSICAL}:linear_prior",
        summary="mixes the two neighbours",
        suits="nothing else works",
        colour="#868d96",
        cost=_PIXELWISE,
        in_tables=True,
    ),
    PriorInfo(
        "cubic",
        f"{_CLASSICAL}:cubic_prior",
        summary="a cubic spline through all slices, pixel by pixel",
        suits="slices that differ little and have little noise",
        colour="#b08968",
        cost=_PIXELWISE,
        in_tables=True,
    ),
    PriorInfo(
        "linear+blur",
        f"{_CLASSICAL}:blurred_linear_prior",
        summary="mixes the two neighbours after a light blur",
        suits="noisy slices, in a hurry",
        colour="#b28bd8",
        cost=_PIXELWISE,
        in_tables=True,
    ),
    PriorInfo(
        "flow",
        f"{_FLOW_PRIORS}:flow_prior",
        summary="moves structures along optical flow, from both sides",
        suits="structures run obliquely, gaps are small",
        colour="#7cc4be",
        cost=_FLOW,
        in_tables=True,
    ),
    PriorInfo(
        "flow+blur",
        f"{_FLOW_PRIORS}:blurred_flow_prior",
        summary="the same with lightly blurred slices",
        suits="the same, with noise",
        colour="#35a7a0",
        cost=_FLOW,
        in_tables=True,
    ),
    PriorInfo(
        "ensemble",
        f"{_FLOW_PRIORS}:ensemble_prior",
        summary="mean of blurred linear and blurred flow",
        suits="a good choice without training",
        colour="#e0a030",
        cost=_FLOW,
        in_tables=True,
    ),
    PriorInfo(
        "flow+linear",
        f"{_FLOW_PRIORS}:flow_and_linear_prior",
        summary="mean of linear and flow, neither blurred",
        suits="like the ensemble, but with hardly any noise for a blur to remove",
        colour="#d97742",
        cost=_FLOW,
    ),
    PriorInfo(
        "self",
        f"{_LEARNED}:self_prior",
        summary="a small network trained on this stack: it learns from xy slices what lies between rows, and "
        "applies that along z in several directions; a network that knows generated phantoms fuses what these say; "
        "observed slices, carried along the motion that this shows, are mixed in",
        suits="tissue looks alike in xy and xz",
        learns=True,
        restore=f"{_LEARNED_PRIOR}:restore_learned_prior",
        efforts=_EFFORTS,
        colour="#d0608f",
        cost="napari_emgauss.priors.learned._cost:self_cost",
    ),
    PriorInfo(
        "auto",
        f"{_AUTO}:auto_prior",
        summary="hides every second slice, keeps the prior that restores it best, and as much of the correction from "
        "phantoms as helps",
        suits="not sure",
        learns=True,
        restore=f"{_LEARNED_PRIOR}:restore_learned_prior",
        efforts=_EFFORTS,
        colour="#a8527f",
        cost=f"{_AUTO}:auto_cost",
    ),
    PriorInfo(
        FIT_ONLY,
        "napari_emgauss.priors._rows:_refuse_alone",
        summary="the paper's: the model's own running average",
        suits="preset `paper`",
        colour="#31a354",
    ),
)


def _refuse_alone(**_: object) -> Prior:
    raise ConfigError(
        f"The prior '{FIT_ONLY}' is the running average of a model while it is fitted; it cannot be used on its own."
    )
