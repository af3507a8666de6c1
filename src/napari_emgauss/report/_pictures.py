"""Pictures of a report, as PNG within the page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.evaluation import EMGAUSS, as_grey, method_label, png_bytes
from napari_emgauss.priors import interpolate_linear
from napari_emgauss.volume import VolumeModel, isotropic_depths, name_of_depth

from ._facts import Facts

MOST_COLUMNS = 768
"""Columns of a picture: a page is read at half of that."""
MOST_DEPTHS = 768


@dataclass(frozen=True)
class Picture:
    """A picture with what stands under it.

    Parameters
    ----------
    caption : str
        Plain text.
    source : str
        A ``data:`` address that holds all of it.
    """

    caption: str
    source: str


def data_address(png: bytes) -> str:
    """A PNG as the address of itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def cuts_along_z(facts: Facts) -> list[Picture]:
    """The xz plane through the middle, isotropic: linear interpolation beside the model."""
    model = facts.model
    _, height, width = model.shape
    row, columns = height // 2, min(width, MOST_COLUMNS)
    left = (width - columns) // 2
    region = (float(row), float(row + 1), float(left), float(left + columns))
    depths = _depths(model)
    shown = {}
    if facts.own is not None:
        observed = _rows(facts.own, model.z_nm, region, columns)
        shown["linear interpolation of the slices"] = interpolate_linear(observed, model.z_nm, depths)
    shown["EMGauss"] = _rows(model, depths, region, columns)
    low, high = _limits(*shown.values())
    where = f"xz cut at row {row}, {depths[-1] - depths[0]:.0f} nm high"
    return [
        Picture(f"{name}: {where}", data_address(png_bytes(as_grey((plane - low) / (high - low)))))
        for name, plane in shown.items()
    ]


def middle_slice(facts: Facts) -> list[Picture]:
    """The slice in the middle of the middle gap: linear interpolation beside the model."""
    model = facts.model
    count, height, width = model.shape
    gap = (count - 1) // 2
    pair = np.asarray(model.z_nm[gap : gap + 2], dtype=np.float64)
    z_nm = float(pair.mean())
    rows, columns = min(height, MOST_COLUMNS), min(width, MOST_COLUMNS)
    top, left = (height - rows) // 2, (width - columns) // 2
    region = (float(top), float(top + rows), float(left), float(left + columns))
    shown = {}
    if facts.own is not None:
        observed = np.stack([_plane(facts.own, z, region, (rows, columns)) for z in pair])
        shown["linear interpolation"] = interpolate_linear(observed, pair, [z_nm])[0]
    shown["EMGauss"] = _plane(model, z_nm, region, (rows, columns))
    low, high = _limits(*shown.values())
    numbers = facts.known.stack.fitted_numbers(count)
    where = f"z = {z_nm:.0f} nm, {name_of_depth(z_nm, list(model.z_nm), numbers)}"
    return [
        Picture(f"{name}: {where}", data_address(png_bytes(as_grey((plane - low) / (high - low)))))
        for name, plane in shown.items()
    ]


def worst_slices(facts: Facts) -> list[list[Picture]]:
    """The hidden slices that came out worst, one row each, as the score kept them."""
    count = facts.model.shape[0]
    numbers = facts.known.stack.fitted_numbers(count)
    rows = []
    for one in facts.score.get("worst", ()):
        index, png = int(one["slice"]), one["png"]
        number = numbers[index] if index < len(numbers) else index
        row = []
        for name, text in png.items():
            label = "as it is" if name == "truth" else f"by {method_label(name)}"
            told = f"slice {number}, hidden, {label}"
            if name == one["method"]:
                told += f" ({float(one['psnr']):.2f} dB over the whole slice)"
            row.append(Picture(told, data_address(base64.b64decode(text, validate=True))))
        rows.append(row)
    return rows


def shown_method(score: Mapping[str, Any]) -> str | None:
    """The method of a score that the model stands for: EMGauss where it was scored."""
    names = [name for name in score.get("methods", {}) if name.partition(":")[0].lower() == EMGAUSS]
    return names[0] if names else None


def _depths(model: VolumeModel) -> NDArray[np.float64]:
    """Depths with the step of the pixels; those in the middle where they would be too many."""
    depths = isotropic_depths(model.z_nm, float(np.mean(model.pixel_size_nm)))
    first = max(0, len(depths) - MOST_DEPTHS) // 2
    return np.asarray(depths[first : first + MOST_DEPTHS], dtype=np.float64)


def _plane(
    model: VolumeModel, z_nm: float, region: tuple[float, float, float, float], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """One plane of the first channel, in grey values."""
    image = np.asarray(model.render(float(z_nm), region=region, shape=shape), dtype=np.float32)
    return image if image.ndim == 2 else image[0]


def _rows(
    model: VolumeModel, depths: NDArray[np.float64], region: tuple[float, float, float, float], columns: int
) -> NDArray[np.float32]:
    """One row of every depth: ``(depths, columns)``."""
    return np.stack([_plane(model, float(z), region, (1, columns))[0] for z in depths])


def _limits(*planes: NDArray[np.float32]) -> tuple[float, float]:
    """Grey values shown as black and white: the same for pictures that stand side by side."""
    low, high = np.percentile(np.concatenate([one.ravel() for one in planes]), (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))
