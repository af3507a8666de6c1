"""Whether the header of a model file fits what the file holds, told before any memory is taken for what it claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_emgauss.model._confidence import coarse_size
from napari_emgauss.model._config import ModelConfig
from napari_emgauss.model._gaussians import CANONICAL, GaussianModel
from napari_emgauss.model._windows import depth_windows

ROOMY_PIXELS = 1 << 25
"""Slices of up to so many pixels can be rendered anywhere; of larger ones there must be Gaussians in proportion."""
_MOST_PIXELS_PER_GAUSSIAN = 50_000


def fewest_gaussians(size: tuple[int, int]) -> int:
    """How many Gaussians a depth window of slices ``(H, W)`` has at least: a small file is no picture of any size."""
    pixels = size[0] * size[1]
    return 1 if pixels <= ROOMY_PIXELS else -(-pixels // _MOST_PIXELS_PER_GAUSSIAN)


def check_header(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Compare depths, sizes and numbers of Gaussians of a header with the tensors beside it.

    Raises
    ------
    ValueError, TypeError, KeyError, ConfigError, RuntimeError
        They do not fit, or the header makes no sense.
    """
    z_nm, size = check_geometry(header)
    config = ModelConfig.from_dict(header["config"])
    check_grey_values(header["normalisation"], config.channels)
    slice_t = (z_nm - z_nm[0]) / (z_nm[-1] - z_nm[0])
    check_parameters(config, slice_t, size, header["counts"], tensors)


def check_geometry(header: Mapping[str, Any]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Depths of the slices in nm and their size ``(H, W)`` as a header has them, if they make sense together.

    Raises
    ------
    ValueError, TypeError, KeyError
        They make none.
    """
    z_nm = np.asarray(header["z_nm"], dtype=np.float64)
    if z_nm.ndim != 1 or len(z_nm) < 2 or not np.isfinite(z_nm).all() or (np.diff(z_nm) <= 0).any():
        raise ValueError("The depths of the slices do not increase.")
    count, height, width = (int(n) for n in header["shape"])
    if count != len(z_nm) or min(height, width) < 1:
        raise ValueError("The shape does not fit the slices.")
    pixel = [float(size) for size in header["pixel_size_nm"]]
    if len(pixel) != 2 or not np.isfinite(pixel).all() or min(pixel) <= 0:
        raise ValueError("The pixel size is not valid.")
    if not isinstance(header.get("provenance", {}), dict):
        raise TypeError("The provenance is not a table.")
    return z_nm, (height, width)


def check_parameters(
    config: ModelConfig,
    slice_t: NDArray[np.float64],
    size: tuple[int, int],
    counts: object,
    tensors: Mapping[str, Tensor],
) -> None:
    """Compare the parameters of a model with what it is said to be, before any memory is taken for that.

    The model that is described is built without memory for its parameters (torch's ``meta`` device), and only if there
    are about as many tensors as it has: a header may claim anything.

    Parameters
    ----------
    config : ModelConfig
    slice_t : ndarray
        ``(K,)`` depths of the slices in [0, 1].
    size : tuple of int
        ``(H, W)``.
    counts : list of int
        Gaussians in each depth window, as a file has it.
    tensors : mapping
        Parameters by name.

    Raises
    ------
    ValueError
        They do not fit.
    """
    if not isinstance(counts, list) or not all(type(n) is int and n > 0 for n in counts):
        raise ValueError("The numbers of Gaussians are not valid.")
    if counts and min(counts) < fewest_gaussians(size):
        raise ValueError("There are too few Gaussians for slices of that size.")
    windows = depth_windows(slice_t, config.window_slices)
    layers = {"mlp": config.mlp_layers, "grid": config.head_layers, "spline": 0}[config.field]
    gaps = 0 if config.field == "mlp" else sum(window.last - window.first for window in windows)
    if len(tensors) < len(windows) * (len(CANONICAL) + layers) + gaps * config.knots_per_gap:
        raise ValueError("There are fewer parameters than the settings say.")
    with torch.device("meta"):
        claimed = GaussianModel(config, slice_t, size, counts)
    shapes = {name: tuple(value.shape) for name, value in claimed.state_dict().items()}
    if shapes != {name: tuple(value.shape) for name, value in tensors.items()}:
        raise ValueError("The sizes in the header are not those of the parameters.")
    if any(value.dtype != torch.float32 for value in tensors.values()):
        raise ValueError("The parameters are not of 32 bits.")


def check_grey_values(line: Mapping[str, Any], channels: int) -> None:
    """Raise unless this is a way from the unit range to grey values of so many channels.

    Raises
    ------
    ValueError, TypeError, KeyError
        It is none.
    """
    if np.dtype(line["dtype"]).kind not in "iuf" or not np.isfinite([float(line["low"]), float(line["high"])]).all():
        raise ValueError("The limits of the grey values are not valid.")
    limits = line.get("channel_limits")
    if limits is not None:
        pairs = np.asarray(limits, dtype=np.float64)
        if pairs.shape != (channels, 2) or not np.isfinite(pairs).all():
            raise ValueError("The limits of the grey values do not fit the channels.")


def check_confidence(
    values: NDArray[Any], depths_nm: ArrayLike, z_nm: NDArray[np.float64], size: tuple[int, int]
) -> None:
    """Compare planes of confidence from a file with the slices that they are of.

    Raises
    ------
    ValueError, TypeError
        They do not fit.
    """
    depths = np.asarray(depths_nm, dtype=np.float64)
    if values.dtype != np.uint8 or values.ndim != 3 or values.shape[1:] != coarse_size(size):
        raise ValueError("The planes of confidence do not have the size of the slices.")
    if depths.shape != (len(values),) or not ((depths > z_nm[0]) & (depths < z_nm[-1])).all():
        raise ValueError("The planes of confidence lie outside the slices.")
    if (np.diff(np.sort(np.concatenate([depths, z_nm]))) <= 0).any():
        raise ValueError("Two planes of confidence lie at the same depth.")
