"""Whether the header of a model file fits what the file holds, told before any memory is taken for what it claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_emgauss.model._config import ModelConfig
from napari_emgauss.model._gaussians import GaussianModel


def check_header(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Compare depths, sizes and numbers of Gaussians of a header with the tensors beside it.

    The model that the header describes is built without memory for its parameters (torch's ``meta`` device): a header
    may claim anything.

    Raises
    ------
    ValueError, TypeError, KeyError, ConfigError, RuntimeError
        They do not fit, or the header makes no sense.
    """
    z_nm = np.asarray(header["z_nm"], dtype=np.float64)
    if z_nm.ndim != 1 or len(z_nm) < 2 or not np.isfinite(z_nm).all() or (np.diff(z_nm) <= 0).any():
        raise ValueError("The depths of the slices do not increase.")
    count, height, width = (int(n) for n in header["shape"])
    if count != len(z_nm) or min(height, width) < 1:
        raise ValueError("The shape is no shape of these slices.")
    pixel = [float(size) for size in header["pixel_size_nm"]]
    if len(pixel) != 2 or not np.isfinite(pixel).all() or min(pixel) <= 0:
        raise ValueError("The pixel size is none.")
    line = header["normalisation"]
    if np.dtype(line["dtype"]).kind not in "iuf" or not np.isfinite([float(line["low"]), float(line["high"])]).all():
        raise ValueError("The grey values' limits are none.")
    config = ModelConfig.from_dict(header["config"])
    limits = line.get("channel_limits")
    if limits is not None and np.asarray(limits, dtype=np.float64).shape != (config.channels, 2):
        raise ValueError("There are other limits of grey values than channels.")
    if not isinstance(header["counts"], list) or not all(isinstance(n, int) and n > 0 for n in header["counts"]):
        raise ValueError("The numbers of Gaussians are none.")
    if not isinstance(header.get("provenance", {}), dict):
        raise TypeError("The provenance is no table.")
    with torch.device("meta"):
        claimed = GaussianModel(config, (z_nm - z_nm[0]) / (z_nm[-1] - z_nm[0]), (height, width), header["counts"])
    shapes = {name: tuple(value.shape) for name, value in claimed.state_dict().items()}
    if shapes != {name: tuple(value.shape) for name, value in tensors.items()}:
        raise ValueError("The sizes in the header are not those of the parameters.")
