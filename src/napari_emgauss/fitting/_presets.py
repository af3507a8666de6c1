"""Presets: named settings. A preset is data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from napari_emgauss._errors import ConfigError
from napari_emgauss.fitting._config import FitConfig, check_names

# A prior that sees the whole gap at once needs no slow start: full weight and all of the gap from the first iteration.
_DISTIL: dict[str, Any] = {
    "field": "spline",
    "knots_per_gap": None,
    "knot_lr_start": 0.1,
    "knot_lr_end": 0.01,
    "warm_up_iterations": 50,
    "joint_iterations": 50,
    "teacher_student_iterations": None,
    "pseudo_weight_start": 1.0,
    "pseudo_ramp_iterations": 0,
    "real_per_pseudo": 0.15,
    "pseudo_dssim_weight": 0.2,
    "value_lr": 1e-2,
    "lr_end": 0.1,
    "depth_noise": 0.0,
    "growth": 1.0,
    "density_iterations": 0,
    "pixels_per_gaussian": 6.0,
}


@dataclass(frozen=True)
class PresetInfo:
    """A preset's row: its name, a sentence for people, the settings that differ from `FitConfig`, its colour."""

    name: str
    note: str
    settings: Mapping[str, Any]
    colour: str


_ROWS = (
    PresetInfo(
        "paper",
        "As published; meant for a GPU, slow without one.",
        # Everything as published; where the paper is silent, as in the method it builds on, except for three things
        # (benchmarks/paper_choices.py). That films hundreds of frames: its ten frequencies for depth would let a dozen
        # slices do anything between them. A cloud that grows learns the noise of the slices, which every depth between
        # them inherits: a quarter as many Gaussians as it ends with are as good, in a quarter of the time. And a frame
        # has no thickness, a section has one, that of serial sections is the distance to the next: as a mean over it,
        # a slice leaves its noise behind.
        {
            "prior": "ema",
            "field": "mlp",
            "sampling": "slab",
            "shown_thickness": 1.0,
            "depth_noise": 0.3,
            "depth_noise_iterations": 18_000,
            "mlp_depth_frequencies": None,
            "pixels_per_gaussian": 16.0,
            "growth": 1.0,
            "density_iterations": 0,
        },
        "#31a354",
    ),
    PresetInfo(
        "fast",
        "The quickest first look.",
        {**_DISTIL, "iterations_per_slice": 60.0, "ema_decay": 0.99, "prior": "auto:fast"},
        "#8ab8f8",
    ),
    PresetInfo(
        "default",
        "What most people want.",
        {**_DISTIL, "iterations_per_slice": 150.0, "prior": "auto"},
        "#4f8ff7",
    ),
    PresetInfo(
        "best",
        "More patience, a little more quality.",
        {**_DISTIL, "iterations_per_slice": 1000.0, "prior": "auto:best"},
        "#2563c9",
    ),
)
PRESETS = MappingProxyType({row.name: row for row in _ROWS})


def preset_names() -> tuple[str, ...]:
    """Names of the presets."""
    return tuple(PRESETS)


def preset_info(name: str) -> PresetInfo:
    """The row of a preset.

    Raises
    ------
    ConfigError
        There is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"There is no preset {name!r}: choose from {', '.join(PRESETS)}.")
    return PRESETS[name]


def preset(name: str, **overrides: object) -> FitConfig:
    """Settings of a preset, with some of them replaced.

    Raises
    ------
    ConfigError
        There is no such preset or setting, or a value cannot work.
    """
    settings: dict[str, Any] = {**preset_info(name).settings, **overrides}
    check_names(settings)
    return FitConfig(**settings)
