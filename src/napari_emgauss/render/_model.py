"""A fitted (or being fitted) model that renders slices in the source's grey values at any depth."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._errors import ConfigError, ModelFileError
from napari_emgauss._torch import constant
from napari_emgauss.model import (
    ERROR_BARS,
    MODEL_FORMAT,
    MODEL_FORMAT_VERSION,
    ROOMY_PIXELS,
    Confidence,
    ErrorBars,
    GaussianModel,
    ModelConfig,
    Splats,
    Thickness,
    check_confidence,
    check_error_bars,
    check_header,
    read_tensors,
    write_tensors,
)
from napari_emgauss.render._backends import choose_backend
from napari_emgauss.render._grey_values import Delivery
from napari_emgauss.render._splat import splat
from napari_emgauss.stack import Frame, Normalisation, Region
from napari_emgauss.volume import ModelTraits

if TYPE_CHECKING:
    from napari_emgauss.render._splat import Backend

_CONFIDENCE = "confidence"
_MOST_DEPTHS_ON_A_GPU = 16


class EmgaussModel(GaussianModel):
    """A Gaussian model of one stack, with what is needed to render it in the stack's own grey values.

    Parameters
    ----------
    config : ModelConfig
        What the model consists of.
    z_nm : ndarray
        ``(K,)`` depths of the observed slices, nm, strictly increasing.
    pixel_size_nm : tuple of float
        ``(y, x)``.
    size : tuple of int
        ``(H, W)`` in pixels.
    normalisation : Normalisation
        Converts between source grey values and the unit range.
    counts : int or sequence of int
        Gaussians per depth window.
    provenance : dict
        Where the model comes from: source, settings, prior, versions; JSON-compatible, saved with the model.
    device : str
        Torch device to keep parameters on, or "auto".
    backend : str
        Renderer to use, or "auto" for the fastest on the device.

    Attributes
    ----------
    confidence : Confidence or None
        How far the prior trusted its guesses, if the fit had a prior that rates them.
    error_bars : ErrorBars or None
        What error is to be expected, in the unit range; see :attr:`error` for grey values.
    thickness : Thickness
        Of the slices that are shown: each is the mean over it.
    version : int
        Grows whenever the parameters change: a cache of rendered images is good for one version.
    """

    def __init__(
        self,
        config: ModelConfig,
        z_nm: NDArray[np.float64],
        pixel_size_nm: tuple[float, float],
        size: tuple[int, int],
        normalisation: Normalisation,
        counts: int | Sequence[int],
        *,
        provenance: dict[str, Any] | None = None,
        device: str = "cpu",
        backend: Backend = "auto",
    ) -> None:
        z = np.asarray(z_nm, dtype=np.float64)
        super().__init__(config, (z - z[0]) / (z[-1] - z[0]), size, counts)
        self.z_nm = z
        self.pixel_size_nm = (float(pixel_size_nm[0]), float(pixel_size_nm[1]))
        self.normalisation = normalisation
        self.provenance: dict[str, Any] = dict(provenance or {})
        self.backend: Backend = backend
        self.version = 0
        self.thickness = Thickness(config.thickness_gaps)
        self.confidence: Confidence | None = None
        self.error_bars: ErrorBars | None = None
        self._lock = threading.RLock()
        self.to(choose_backend(device).device if device == "auto" else device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Observed slices, rows, columns."""
        return (len(self.z_nm), *self.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Grey values' type, as in the source."""
        return np.dtype(self.normalisation.dtype)

    @property
    def channels(self) -> int:
        """Grey channels."""
        return self.config.channels

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.cloud_list[0].means.device

    @property
    def error(self) -> ErrorBars | None:
        """σ at any depth in the grey values that `render` gives; None where nothing is known of the error."""
        return None if self.error_bars is None else self.error_bars.in_grey_values(self.normalisation.ranges)

    @property
    def traits(self) -> ModelTraits:
        """What not every model has."""
        own = self.device.type != "cpu"
        return ModelTraits(has_own_device=own, normalisation=self.normalisation, error=self.error)

    def t_of(self, z_nm: float) -> float:
        """Depth in nm as ``t`` in [0, 1].

        Raises
        ------
        DepthError
            ``z_nm`` lies outside the observed slices.
        """
        first, last = float(self.z_nm[0]), float(self.z_nm[-1])
        return (Frame.of(self).checked_depth(z_nm) - first) / (last - first)

    def render_unit(
        self,
        t: float | Sequence[float],
        *,
        region: Region | None = None,
        shape: tuple[int, int] | None = None,
        deform: bool = True,
        shift: Tensor | None = None,
    ) -> Tensor:
        """Images of planes in the unit range, differentiable.

        Parameters
        ----------
        t : float or sequence of float
            Depths in [0, 1].
        region : tuple of float, optional
            ``(y0, y1, x0, x1)`` in pixels; the whole slice by default. It may reach beyond the slice: cells of a coarse
            sampling do where tiles meet.
        shape : tuple of int, optional
            Rows and columns to sample the region with, at the centres of equal cells; one per pixel by default.
        deform : bool
            False shows the canonical Gaussians at every depth.
        shift : Tensor, optional
            ``(B, 2)``, (x, y) pixels by which each image is moved as a whole.

        Returns
        -------
        Tensor
            ``(B, C, h, w)``.
        """
        depths = [float(t)] if isinstance(t, int | float) else [float(v) for v in t]
        box, sampled = Frame.of(self).sampling(region, shape)
        clouds = self.cloud_list
        if len(clouds) == 1:
            return self._draw(clouds[0].splats(depths, deform=deform), box, sampled, shift)
        # Depths that share a cloud are drawn together; where two windows overlap their images are blended.
        wanted: dict[int, list[tuple[int, float]]] = {}
        for position, depth in enumerate(depths):
            for cloud, weight in self.active(depth):
                wanted.setdefault(cloud, []).append((position, weight))
        parts: list[Tensor | None] = [None] * len(depths)
        for cloud, items in wanted.items():
            moved = None if shift is None else torch.stack([shift[p] for p, _ in items])
            images = self._draw(clouds[cloud].splats([depths[p] for p, _ in items], deform=deform), box, sampled, moved)
            for image, (position, weight) in zip(images, items, strict=True):
                share = image if weight >= 1.0 - 1e-6 else image * weight
                before = parts[position]
                parts[position] = share if before is None else before + share
        return torch.stack([part for part in parts if part is not None])

    def render_mean(
        self,
        t: Sequence[float],
        thickness: Thickness,
        *,
        region: Region | None = None,
        shape: tuple[int, int] | None = None,
        shift: Tensor | None = None,
    ) -> Tensor:
        """Images of slices with a thickness in the unit range, differentiable: the mean over it.

        Parameters
        ----------
        t : sequence of float
            Depths of the slices' middles in [0, 1].
        thickness : Thickness
            That of the model's own slices is :attr:`thickness`.
        region, shape, shift
            As of :meth:`render_unit`.

        Returns
        -------
        Tensor
            ``(B, C, h, w)``.
        """
        if thickness.is_plane:
            return self.render_unit(t, region=region, shape=shape, shift=shift)
        inside = [depth for middle in t for depth in thickness.depths(self.slice_t, middle)]
        if shift is not None:
            shift = shift.repeat_interleave(len(thickness.weights), dim=0)
        images = self.render_unit(inside, region=region, shape=shape, shift=shift).unflatten(0, (len(t), -1))
        return (images * constant(images, *thickness.weights)[:, None, None, None]).sum(dim=1)

    def render(
        self,
        z_nm: float | Sequence[float] | NDArray[np.float64],
        *,
        region: Region | None = None,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[Any]:
        """Slices at any depth in the source's grey values and dtype. Safe to call from several threads.

        Parameters
        ----------
        z_nm : float or sequence of float
            Depths in nm between the first and the last observed slice.
        region : tuple of float, optional
            ``(y0, y1, x0, x1)`` in pixels, fractions allowed; the whole slice by default.
        shape : tuple of int, optional
            Rows and columns to sample the region with; one per pixel by default.

        Returns
        -------
        ndarray
            ``(h, w)`` for one depth, ``(n, h, w)`` for a sequence; ``(C, h, w)``, ``(n, C, h, w)`` with more channels
            than one.

        Raises
        ------
        DepthError
            A depth or the region lies outside the fitted volume.
        """
        single = np.ndim(z_nm) == 0
        depths = [self.t_of(float(z)) for z in np.atleast_1d(np.asarray(z_nm, dtype=np.float64))]
        frame = Frame.of(self)
        frame.checked_region(region)
        _, (height, width) = frame.sampling(region, shape)
        channels = self.config.channels
        out = np.empty((len(depths), channels, height, width), dtype=self.dtype)
        if height * width > ROOMY_PIXELS:
            self._render_bands(depths, region, out)
        else:
            self._render_into(depths, region, shape, out)
        result = out[:, 0] if channels == 1 else out
        return result[0] if single else result

    def _render_bands(self, depths: list[float], region: Region | None, out: NDArray[Any]) -> None:
        """Render wide slices some rows at a time: beside the result, memory is needed for these alone."""
        _, _, rows, columns = out.shape
        y0, y1, x0, x1 = (0.0, float(self.size[0]), 0.0, float(self.size[1])) if region is None else region
        band = max(1, ROOMY_PIXELS // (2 * columns))
        for top in range(0, rows, band):
            bottom = min(rows, top + band)
            edges = (y0 + (y1 - y0) * top / rows, y0 + (y1 - y0) * bottom / rows, x0, x1)
            self._render_into(depths, edges, (bottom - top, columns), out[:, :, top:bottom])

    def _render_into(
        self, depths: list[float], region: Region | None, shape: tuple[int, int] | None, out: NDArray[Any]
    ) -> None:
        """Write the images at ``depths`` in grey values to ``out`` ``(n, C, h, w)``."""
        step = self._depths_at_once(out.shape[-2] * out.shape[-1])
        # On a GPU pictures are brought back while the next ones are rendered.
        ahead = 1 if self.device.type == "cuda" else 0
        under_way: deque[tuple[NDArray[Any], Delivery]] = deque()
        for start in range(0, len(depths), step):
            # A fit publishes new parameters between two renderings, never during one.
            with self._lock, torch.inference_mode():
                images = self.render_mean(depths[start : start + step], self.thickness, region=region, shape=shape)
                under_way.append((out[start : start + step], Delivery(images, self.normalisation)))
            if len(under_way) > ahead:
                _deliver(under_way)
        while under_way:
            _deliver(under_way)

    def snapshot(self) -> EmgaussModel:
        """An independent copy of the present state."""
        with self._lock:
            copy = EmgaussModel(
                self.config,
                self.z_nm,
                self.pixel_size_nm,
                self.size,
                self.normalisation,
                [len(cloud) for cloud in self.cloud_list],
                provenance=dict(self.provenance),
                device=str(self.device),
                backend=self.backend,
            )
            copy.publish(self)
            copy.version = self.version
            copy.confidence, copy.error_bars = self.confidence, self.error_bars
        return copy

    @torch.no_grad()
    def publish(self, source: GaussianModel) -> None:
        """Take over the parameters of ``source``, whose settings and depth windows are the same."""
        with self._lock:
            for mine, theirs in zip(self.cloud_list, source.cloud_list, strict=True):
                others = dict(theirs.named_parameters())
                for name, parameter in list(mine.named_parameters()):
                    other = others[name]
                    if parameter.shape == other.shape:
                        parameter.copy_(other)
                    else:
                        parameter.data = other.detach().to(parameter).clone()
            self.version += 1

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, whole or not at all.

        Raises
        ------
        ModelFileError
            The file cannot be written.
        """
        with self._lock:
            tensors, header = self.state_dict(), self._header()
            if self.confidence is not None:
                tensors[_CONFIDENCE] = torch.from_numpy(self.confidence.values)
                header[_CONFIDENCE] = self.confidence.to_dict()
            if self.error_bars is not None:
                tensors[ERROR_BARS] = torch.from_numpy(self.error_bars.ratios)
                header[ERROR_BARS] = self.error_bars.to_dict()
            write_tensors(path, tensors, header)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to other processes, and is copied, with its parameters; where there is no such device, to the CPU.

        dask's ``processes`` and ``distributed`` schedulers and ``copy.deepcopy`` need it.
        """
        with self._lock:
            arrays = {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}
            trained = any(parameter.requires_grad for parameter in self.parameters())
            more = (self.device.type, self.backend, self.version, (self.confidence, self.error_bars), trained)
            return _rebuilt, (self._header(), arrays, *more)

    def _header(self) -> dict[str, Any]:
        return {
            "format": MODEL_FORMAT,
            "format_version": MODEL_FORMAT_VERSION,
            "config": self.config.to_dict(),
            "z_nm": [float(z) for z in self.z_nm],
            "pixel_size_nm": list(self.pixel_size_nm),
            "shape": list(self.shape),
            "counts": [len(cloud) for cloud in self.cloud_list],
            "normalisation": self.normalisation.to_dict(),
            "provenance": self.provenance,
        }

    def _depths_at_once(self, pixels: int) -> int:
        """Depths to draw together: few, so that memory stays small and a fit waits shortly for the lock."""
        width = self.config.mlp_width if self.config.field == "mlp" else self.config.head_width
        largest = max(len(cloud) for cloud in self.cloud_list)
        planes = len(self.thickness.weights)
        if self.device.type == "cpu":
            floats = planes * (pixels * self.config.channels + 2 * width * largest)
            return int(min(8, max(1, 2**24 // floats)))
        # Half a gigabyte: pictures and what is kept of each pixel, geometry and lists of each splat, and the field's
        # features; a spline has none.
        features = 0 if self.config.field == "spline" else 2 * width
        floats = planes * (pixels * (self.config.channels + 4) + (64 + features) * largest)
        return int(min(_MOST_DEPTHS_ON_A_GPU, max(1, 2**27 // floats)))

    def _draw(self, splats: Splats, region: Region, shape: tuple[int, int], shift: Tensor | None = None) -> Tensor:
        means, conics = splats.means, splats.conics
        if shift is not None:
            means = means + shift[:, None]
        y0, y1, x0, x1 = region
        if region != (0.0, float(self.size[0]), 0.0, float(self.size[1])) or shape != tuple(self.size):
            scale_y, scale_x = shape[0] / (y1 - y0), shape[1] / (x1 - x0)
            means = (means - means.new_tensor([x0, y0])) * means.new_tensor([scale_x, scale_y])
            # Σ' = S Σ S for S = diag(scale_x, scale_y), so its inverse is divided by the scales.
            conics = conics / conics.new_tensor([scale_x * scale_x, scale_x * scale_y, scale_y * scale_y])
        return splat(means, conics, splats.opacities, splats.values, shape, backend=self.backend)


def _deliver(under_way: deque[tuple[NDArray[Any], Delivery]]) -> None:
    out, delivery = under_way.popleft()
    delivery.into(out)


def _from_header(header: dict[str, Any]) -> EmgaussModel:
    """A model as a file's header describes it, its parameters yet to come."""
    _, height, width = header["shape"]
    return EmgaussModel(
        ModelConfig.from_dict(header["config"]),
        np.asarray(header["z_nm"], dtype=np.float64),
        tuple(header["pixel_size_nm"]),
        (height, width),
        Normalisation(**header["normalisation"]),
        header["counts"],
        provenance=header.get("provenance", {}),
    )


def _rebuilt(
    header: dict[str, Any],
    arrays: dict[str, NDArray[np.float32]],
    device: str,
    backend: Backend,
    version: int,
    known: tuple[Confidence | None, ErrorBars | None],
    trained: bool,
) -> EmgaussModel:
    """The model that :meth:`EmgaussModel.__reduce__` took apart, in whatever process that is."""
    model = _from_header(header)
    model.load_state_dict({name: torch.from_numpy(values) for name, values in arrays.items()})
    here = "cpu" if device == "cpu" else choose_backend("auto").device
    model.backend = backend if here.partition(":")[0] == device else "auto"
    model.version, (model.confidence, model.error_bars) = version, known
    return model.requires_grad_(trained).to(here)


def load(path: str | os.PathLike[str], device: str = "auto") -> EmgaussModel:
    """Read a model that :meth:`EmgaussModel.save` wrote.

    Parameters
    ----------
    path : path
        A ``.safetensors`` file.
    device : str
        Torch device, or "auto".

    Raises
    ------
    ModelFileError
        The file is missing, truncated, damaged, not a model of ours, or written by a newer version.
    """
    tensors, header = read_tensors(
        path, expected_format=MODEL_FORMAT, newest_version=MODEL_FORMAT_VERSION, kind="model"
    )
    try:
        confidence, ratios = tensors.pop(_CONFIDENCE, None), tensors.pop(ERROR_BARS, None)
        check_header(header, tensors)
        model = _from_header(header)
        model.load_state_dict(tensors)
        if confidence is not None:
            depths_nm = header[_CONFIDENCE]["depths_nm"]
            values = confidence.numpy()
            check_confidence(values, depths_nm, model.z_nm, model.size)
            model.confidence = Confidence(values, depths_nm, model.z_nm, model.pixel_size_nm, model.size)
        if ratios is not None:
            steps = ratios.numpy()
            known = check_error_bars(steps, header[ERROR_BARS], model.z_nm, model.size, model.channels)
            depths, places, squared, widths = known
            where = (model.z_nm, model.pixel_size_nm, model.size)
            model.error_bars = ErrorBars(steps, depths, places, squared, widths, *where, (1.0,) * model.channels)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError, AttributeError, ConfigError) as error:
        raise ModelFileError(f"{path} is a damaged EMGauss model: its header and its content disagree.") from error
    return model.to(choose_backend(device).device)
