"""Stacks turned in their plane, so that planes that contain z can be cut in any direction, and the way back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._torch import constant


def turned(images: NDArray[np.float32], angle_deg: float) -> NDArray[np.float32]:
    """Slices ``(K, H, W)`` turned about their centre on a grid ``(K, H', W')`` that holds all of them."""
    if angle_deg == 0:
        return images
    from scipy.ndimage import affine_transform

    matrix = _rotation(angle_deg)
    shape = np.array(images.shape[1:])
    size = tuple(int(np.ceil(length)) + 2 for length in np.abs(matrix.T) @ shape)
    offset = (shape - 1) / 2 - matrix @ ((np.array(size) - 1) / 2)
    return np.stack(
        [affine_transform(image, matrix, offset, output_shape=size, order=3, mode="mirror") for image in images]
    )


def turned_back(planes: Tensor, angle_deg: float, size: tuple[int, int]) -> Tensor:
    """``(n, H', W')`` on a grid turned by ``angle_deg`` about the centre to ``(n, H, W)``, by cubic splines.

    On a CPU by SciPy, in a third of the time that gathering takes there; on other devices in torch.
    """
    if planes.device.type == "cpu":
        from scipy.ndimage import affine_transform

        inverse = _rotation(angle_deg).T
        offset = (np.array(planes.shape[1:]) - 1) / 2 - inverse @ ((np.array(size) - 1) / 2)
        back = [
            affine_transform(one, inverse, offset, output_shape=size, order=3, mode="mirror") for one in planes.numpy()
        ]
        return torch.from_numpy(np.stack(back))
    return gathered_back(planes, angle_deg, size)


def _rotation(angle_deg: float) -> NDArray[np.float64]:
    radians = np.deg2rad(angle_deg)
    return np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])


_POLE = 3.0**0.5 - 2.0
"""Of the cubic B-spline's prefilter (Unser, Aldroubi, Eden 1993)."""
_PREFILTER_REACH = 14
"""Its impulse response falls by 0.27 a step: below 1e-8 here."""


def spline_coefficients(planes: Tensor) -> Tensor:
    """Cubic B-spline coefficients of ``(n, H, W)`` along both axes, mirrored about border pixels beyond them."""
    taps = [(6 * _POLE / (_POLE * _POLE - 1)) * _POLE ** abs(k) for k in range(-_PREFILTER_REACH, _PREFILTER_REACH + 1)]
    kernel = constant(planes, *taps)
    out = planes[:, None]
    for axis in (2, 3):
        index = _mirrored(
            torch.arange(-_PREFILTER_REACH, out.shape[axis] + _PREFILTER_REACH, device=out.device), out.shape[axis]
        )
        padded = out.index_select(axis, index)
        shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        # Ten bits of TensorFloat-32 are too few for a filter that sharpens.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            out = torch.nn.functional.conv2d(padded, kernel.reshape(shape))
    return out[:, 0]


def _mirrored(index: Tensor, length: int) -> Tensor:
    """Indices beyond an axis of ``length`` brought back, mirrored about its first and last place."""
    if length == 1:
        return torch.zeros_like(index)
    index = torch.remainder(index, 2 * (length - 1))
    return torch.where(index >= length, 2 * (length - 1) - index, index)


def gathered_back(planes: Tensor, angle_deg: float, size: tuple[int, int]) -> Tensor:
    """As `turned_back`, with nothing but launches: four by four coefficients gathered for every pixel."""
    height, width = planes.shape[1:]
    radians = float(np.deg2rad(angle_deg))
    cosine, sine = float(np.cos(radians)), float(np.sin(radians))
    y = torch.arange(size[0], device=planes.device, dtype=torch.float32) - (size[0] - 1) / 2
    x = torch.arange(size[1], device=planes.device, dtype=torch.float32) - (size[1] - 1) / 2
    row = cosine * y[:, None] + sine * x[None, :] + (height - 1) / 2
    column = -sine * y[:, None] + cosine * x[None, :] + (width - 1) / 2
    coefficients = spline_coefficients(planes).reshape(len(planes), -1)
    low_row, low_column = row.floor(), column.floor()
    row_weights, column_weights = _spline_weights(row - low_row), _spline_weights(column - low_column)
    out = torch.zeros((len(planes), *size), device=planes.device)
    for i in range(4):
        at_row = _mirrored(low_row.long() + i - 1, height) * width
        for j in range(4):
            place = at_row + _mirrored(low_column.long() + j - 1, width)
            out += coefficients[:, place] * (row_weights[i] * column_weights[j])
    return out


def _spline_weights(part: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cubic B-spline at distances ``part + 1, part, 1 - part, 2 - part``."""
    rest = 1 - part
    return (
        rest**3 / 6,
        2 / 3 - part * part * (2 - part) / 2,
        2 / 3 - rest * rest * (2 - rest) / 2,
        part**3 / 6,
    )
