"""Splats to images: one function :func:`splat` with several backends, and the model that renders with it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_emgauss.render._backends import BackendChoice, BackendStatus, available_backends, choose_backend
    from napari_emgauss.render._doctor import Finding, doctor
    from napari_emgauss.render._model import EmgaussModel, load
    from napari_emgauss.render._splat import splat, warm_up

__all__ = [
    "BackendChoice",
    "BackendStatus",
    "EmgaussModel",
    "Finding",
    "available_backends",
    "choose_backend",
    "doctor",
    "load",
    "splat",
    "warm_up",
]

_MODULE_OF = {
    "BackendChoice": "_backends",
    "BackendStatus": "_backends",
    "EmgaussModel": "_model",
    "Finding": "_doctor",
    "available_backends": "_backends",
    "choose_backend": "_backends",
    "doctor": "_doctor",
    "load": "_model",
    "splat": "_splat",
    "warm_up": "_splat",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
