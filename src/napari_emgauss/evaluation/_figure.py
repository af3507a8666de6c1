"""A figure of an evaluation: planes of each method beside the truth, and where they differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_emgauss._errors import ConfigError
from napari_emgauss._files import whole

from ._result import VIEWS, EvaluationResult
from ._text_table import number_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ERROR_RANGE = 0.25  # of the unit range; larger differences are shown in full colour
PANEL_INCHES = 2.2


def write_figure(result: EvaluationResult, path: str | Path) -> None:
    """Write the planes and error maps of an evaluation side by side.

    One column for the truth and one per method; for each view a row of planes and a row of differences from the truth
    (blue is too dark, red too bright, full colour at a quarter of the grey range).

    Parameters
    ----------
    result : EvaluationResult
        With planes, as :func:`evaluate` gives it.
    path : str or Path
        ``.png``, ``.pdf`` or ``.svg``.

    Raises
    ------
    ConfigError
        matplotlib is not installed, or cannot write such a file.
    ExportError
        The file cannot be written.
    """
    save_figure(draw(result), path)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, whole or not at all; errors are those of :func:`write_figure`."""
    form = check_figure(path)
    with whole(path) as part:
        figure.savefig(part, dpi=130, format=form)


def check_figure(path: str | Path) -> str:
    """The file format that a figure's name means, before it is drawn.

    Raises
    ------
    ConfigError
        matplotlib is not installed, or cannot write such a file.
    """
    form = Path(path).suffix.lower().removeprefix(".")
    if form not in empty_figure(1, 1).canvas.get_supported_filetypes():
        raise ConfigError(f"A figure cannot be written as '{Path(path).name}': take .png, .pdf or .svg.")
    return form


def empty_figure(width_inches: float, height_inches: float) -> Figure:
    """A figure without a window.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "A figure needs matplotlib: install it with  pip install 'napari-emgauss[evaluate]'."
        ) from error
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw(result: EvaluationResult) -> Figure:
    """The figure itself, drawn without a window."""
    names = list(result.methods)
    heights = [height for view in VIEWS for height in [_height(result, view)] * 2]
    figure = empty_figure(PANEL_INCHES * (len(names) + 1), PANEL_INCHES * sum(heights) + 0.9)
    axes = figure.subplots(len(heights), len(names) + 1, squeeze=False, height_ratios=heights)
    figure.suptitle(f"{result.volume}, every {_ordinal(result.factor)} slice kept", fontsize=10)
    for row, view in enumerate(VIEWS):
        truth = result.truth_planes[view]
        low, high = np.percentile(truth, (0.5, 99.5))
        for column in range(len(names) + 1):
            image_axes, error_axes = axes[2 * row, column], axes[2 * row + 1, column]
            for one in (image_axes, error_axes):
                one.set_xticks([])
                one.set_yticks([])
            if column == 0:
                image_axes.imshow(truth, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
                image_axes.set_ylabel(f"{view}, plane {result.plane_positions[view]}", fontsize=8)
                image_axes.set_title("truth" if row == 0 else "", fontsize=8)
                error_axes.axis("off")
                continue
            method = result.methods[names[column - 1]]
            plane = method.planes[view]
            image_axes.imshow(plane, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            scores = getattr(method, view)
            label = f"{number_cell(scores.psnr, 2)} dB / {number_cell(scores.ssim, 3)}"
            image_axes.set_title(f"{method.method}\n{label}" if row == 0 else label, fontsize=8)
            error_axes.imshow(
                plane - truth, cmap="RdBu_r", vmin=-ERROR_RANGE, vmax=ERROR_RANGE, interpolation="nearest"
            )
    return figure


def _height(result: EvaluationResult, view: str) -> float:
    rows, columns = result.truth_planes[view].shape
    return max(rows / columns, 0.15)


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
