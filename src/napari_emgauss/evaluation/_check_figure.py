"""A figure of what ``emgauss check`` found: slices unlike the others, misaligned slices, uneven distances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_emgauss.stack import AlignmentReport, SliceReport, ThicknessEstimate

from ._figure import empty_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"good": "#4477aa", "suspect": "#ccaa22", "bad": "#cc3344"}
_WIDTH_INCHES, _PANEL_INCHES = 8.0, 2.1


def write_check_figure(
    path: str | Path,
    reports: Sequence[SliceReport],
    numbers: Sequence[int],
    alignment: AlignmentReport | None = None,
    thickness: ThicknessEstimate | None = None,
    sound: Sequence[int] | None = None,
) -> None:
    """Write how alike, how well placed and how far apart the slices of a stack are, over their numbers in the file.

    Parameters
    ----------
    path : str or Path
        ``.png``, ``.pdf`` or ``.svg``.
    reports : sequence of SliceReport
        One for each slice.
    numbers : sequence of int
        Number of each of them in the file.
    alignment : AlignmentReport, optional
        Of the ``sound`` slices.
    thickness : ThicknessEstimate, optional
        Of the ``sound`` slices.
    sound : sequence of int, optional
        Numbers in the file of the slices that were measured; ``numbers`` by default.

    Raises
    ------
    ConfigError
        matplotlib is not installed, or cannot write such a file.
    ExportError
        The file cannot be written.
    """
    save_figure(draw_check(reports, numbers, alignment, thickness, sound), path)


def draw_check(
    reports: Sequence[SliceReport],
    numbers: Sequence[int],
    alignment: AlignmentReport | None = None,
    thickness: ThicknessEstimate | None = None,
    sound: Sequence[int] | None = None,
) -> Figure:
    """The figure itself; a panel for each thing that was measured."""
    measured = np.asarray(numbers if sound is None else sound)
    panels = 1 + (alignment is not None) + (thickness is not None)
    figure = empty_figure(_WIDTH_INCHES, _PANEL_INCHES * panels)
    axes = iter(figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0])
    _draw_states(next(axes), reports, numbers)
    if alignment is not None:
        _draw_jitter(next(axes), alignment, measured)
    if thickness is not None:
        _draw_steps(next(axes), thickness, measured)
    figure.axes[-1].set_xlabel("slice, as numbered in the file")
    return figure


def _draw_states(axis: Any, reports: Sequence[SliceReport], numbers: Sequence[int]) -> None:
    similarity = np.array([report.measures.get("similarity", np.nan) for report in reports])
    axis.plot(numbers, similarity, color="#bbbbbb", linewidth=1, zorder=1)
    floor = np.nanmin(similarity) if np.isfinite(similarity).any() else 0.0
    for state, colour in _COLOURS.items():
        mine = [k for k, report in enumerate(reports) if report.state == state]
        heights = np.where(np.isfinite(similarity[mine]), similarity[mine], floor)
        axis.scatter([numbers[k] for k in mine], heights, s=14, color=colour, label=f"{len(mine)} {state}", zorder=2)
    for k, report in enumerate(reports):
        if report.state == "bad":
            axis.axvspan(numbers[k] - 0.5, numbers[k] + 0.5, color=_COLOURS["bad"], alpha=0.12, linewidth=0)
    axis.set_ylabel("correlation with\nthe nearer neighbour")
    axis.legend(fontsize=7, loc="best")


def _draw_jitter(axis: Any, alignment: AlignmentReport, numbers: np.ndarray) -> None:
    from napari_emgauss.stack import JITTER_WARNING_PX

    length = alignment.jitter_length_px
    axis.errorbar(
        numbers, length, yerr=alignment.uncertainty_px, fmt=".", color=_COLOURS["good"], ecolor="#bbbbbb", linewidth=1
    )
    off = alignment.misplaced()
    axis.scatter(numbers[off], length[off], s=24, color=_COLOURS["bad"], zorder=3, label=f"{len(off)} askew")
    axis.axhline(JITTER_WARNING_PX, color="#888888", linewidth=1, linestyle="--")
    axis.set_ylim(bottom=0)
    axis.set_ylabel("distance off its\nneighbours (pixels)")
    axis.legend(fontsize=7, loc="best")


def _draw_steps(axis: Any, thickness: ThicknessEstimate, numbers: np.ndarray) -> None:
    middle = (numbers[1:] + numbers[:-1]) / 2
    axis.step(middle, thickness.nominal_nm, where="mid", color="#888888", linewidth=1, label="so far")
    axis.plot(middle, np.diff(thickness.z_nm), ".", color=_COLOURS["good"], label="estimated, same total")
    axis.set_ylim(bottom=0)
    title = "" if thickness.reliable else " (not reliable)"
    axis.set_ylabel(f"to the next\nslice (nm){title}")
    axis.legend(fontsize=7, loc="best")
