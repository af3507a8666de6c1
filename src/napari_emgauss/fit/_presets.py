"""Presets: named settings. A preset is data."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from napari_emgauss._errors import ConfigError
from napari_emgauss.fit._config import FitConfig, check_names

PRESETS = MappingProxyType(
    {
        # Everything as published; where the paper is silent, as in the method it builds on.
        "paper": MappingProxyType({"prior": "ema", "field": "mlp", "depth_noise": 0.2}),
        "fast": MappingProxyType({}),
        "default": MappingProxyType({}),
        "best": MappingProxyType({}),
    }
)


def preset_names() -> tuple[str, ...]:
    """Names of the presets."""
    return tuple(PRESETS)


def preset(name: str, **overrides: Any) -> FitConfig:
    """Settings of a preset, with some of them replaced.

    Raises
    ------
    ConfigError
        There is no such preset or setting, or a value cannot work.
    """
    if name not in PRESETS:
        raise ConfigError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    check_names(overrides)
    return FitConfig(**{**PRESETS[name], **overrides})
