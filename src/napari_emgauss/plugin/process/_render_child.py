"""The process that holds fitted models and renders slices for the window. Knows neither Qt nor napari."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._asked_child import answer_requests

if TYPE_CHECKING:
    from napari_emgauss.render import EmgaussModel
    from napari_emgauss.tiles import TiledModel

MODELS_KEPT = 6
"""Models held at once; the least recently used goes first and is read again when asked for."""


@dataclass(frozen=True)
class ModelInfo:
    """What the window needs to know of a model without holding it.

    Parameters
    ----------
    shape : tuple of int
        Slices, rows, columns of the stack it was fitted to.
    dtype : str
        NumPy name of the source's dtype.
    z_nm : tuple of float
        Depth of every fitted slice, nm.
    pixel_size_nm : tuple of float
        ``(y, x)`` in nm.
    limits : tuple of float
        Source grey values of black and white: contrast limits.
    gaussians : int
        Number of Gaussians.
    channels : int
        Grey channels.
    channel_limits : tuple
        Limits of each channel, where there are several.
    provenance : dict
        Where it comes from.
    """

    shape: tuple[int, int, int]
    dtype: str
    z_nm: tuple[float, ...]
    pixel_size_nm: tuple[float, float]
    limits: tuple[float, float]
    gaussians: int
    channels: int
    provenance: dict[str, Any]
    channel_limits: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class DeviceInfo:
    """Where slices are rendered and models fitted, and why there."""

    device: str
    backend: str
    reason: str


class _Models:
    """Loaded models by file name, at most :data:`MODELS_KEPT`."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._models: OrderedDict[str, EmgaussModel | TiledModel] = OrderedDict()

    def get(self, path: str) -> EmgaussModel | TiledModel:
        if path not in self._models:
            from napari_emgauss.tiles import load

            self._models[path] = load(path, device=self.device)
        self._models.move_to_end(path)
        while len(self._models) > MODELS_KEPT:
            self._models.popitem(last=False)
        return self._models[path]

    def drop(self, path: str) -> None:
        if self._models.pop(path, None) is not None:
            _empty_gpu_cache()


def _empty_gpu_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _describe(model: EmgaussModel | TiledModel) -> ModelInfo:
    depth, height, width = (int(n) for n in model.shape)
    y_nm, x_nm = (float(s) for s in model.pixel_size_nm)
    return ModelInfo(
        shape=(depth, height, width),
        dtype=np.dtype(model.dtype).name,
        z_nm=tuple(float(z) for z in model.z_nm),
        pixel_size_nm=(y_nm, x_nm),
        limits=(float(model.normalisation.low), float(model.normalisation.high)),
        gaussians=model.gaussian_count,
        channels=model.channels,
        provenance=dict(model.provenance),
        channel_limits=tuple((float(low), float(high)) for low, high in model.normalisation.channel_limits or ()),
    )


def _error(model: EmgaussModel | TiledModel) -> Any:
    """The error bars themselves; of tiles, which stay here, only how wide the bands are; None where there are none."""
    from napari_emgauss.model import ErrorBars
    from napari_emgauss.priors import BANDS

    error = model.error
    if error is None or isinstance(error, ErrorBars):
        return error
    return {share: error.half_width(share) for share in BANDS}


def describe_device(device: str) -> DeviceInfo:
    """What ``device`` (``auto`` or a name) means on this machine."""
    from napari_emgauss.render import choose_backend

    choice = choose_backend(device)
    return DeviceInfo(str(choice.device), str(choice.backend), str(choice.reason))


def serve(connection: Any, device: str, threads: int) -> None:
    """Answer requests ``(verb, *arguments)`` until the window is gone.

    Every answer is one message; the pixels of ``render`` follow as bytes. An answer that is a
    :class:`~napari_emgauss.plugin.process._problem.Problem` says what went wrong.
    """
    models = _Models(device)
    answer_requests(connection, lambda verb, *arguments: _answer(models, threads, verb, arguments), "render")


def _answer(models: _Models, threads: int, verb: str, arguments: tuple[Any, ...]) -> Any:
    if verb == "render":
        path, z_nm, region, shape = arguments
        return models.get(path).render(z_nm, region=region, shape=shape)
    if verb == "describe":
        return _describe(models.get(arguments[0]))
    if verb == "confidence":
        return models.get(arguments[0]).confidence
    if verb == "error":
        return _error(models.get(arguments[0]))
    if verb == "render_error":
        path, z_nm, region, shape = arguments
        error = models.get(path).error
        return None if error is None else error.render(z_nm, region=region, shape=shape)
    if verb == "warm":
        import torch

        torch.set_num_threads(threads)
        return describe_device(models.device)
    if verb == "device":
        return describe_device(arguments[0])
    if verb == "plan":
        from ._estimate_jobs import plan

        return plan(arguments[0])
    if verb == "drop":
        models.drop(arguments[0])
        return None
    raise ValueError(f"unknown request {verb!r}")
