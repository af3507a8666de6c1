"""Tables and curves of a report, out of what scores and evaluations say as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_emgauss.evaluation import (
    BASELINE,
    CRITERIA,
    METRICS,
    Estimate,
    method_colours,
    method_label,
    resolution_text,
)

CURVE_WIDTH, CURVE_HEIGHT = 520, 240
_LEFT, _BOTTOM, _TOP = 44, 36, 8


@dataclass(frozen=True)
class Table:
    """Cells as text, the head first; rows in ``strong`` stand out.

    Parameters
    ----------
    head : tuple of str
        One a column.
    rows : tuple of tuple of str
        One a row.
    strong : frozenset of int
        Rows that stand out.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Line:
    """One line of a plot: its points as SVG has them, its colour and name."""

    points: str
    colour: str
    name: str
    dashed: bool = False


@dataclass(frozen=True)
class Plot:
    """Ring correlations by frequency; everything in the units of the drawing.

    Parameters
    ----------
    lines : tuple of Line
        Methods and thresholds.
    ticks : tuple of (float, str)
        Places on the axis of frequencies, and the wavelength there.
    levels : tuple of (float, str)
        Heights on the axis of correlation.
    """

    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    levels: tuple[tuple[float, str], ...]
    width: int = CURVE_WIDTH
    height: int = CURVE_HEIGHT


def scores_table(result: Mapping[str, Any], view: str) -> Table | None:
    """Every metric of one view with its interval, a method a row; None where nothing was measured."""
    methods = result["methods"]
    measured = {name for one in methods.values() for name in estimates_of(one, view)}
    columns = [row for row in METRICS if row.name in measured]
    if not columns:
        return None
    head = ["method", *[f"{row.label}{row.unit and f' ({row.unit.strip()})'}" for row in columns]]
    if view == "xy":
        head.append("PSNR against linear")
    rows = []
    for name, one in methods.items():
        found = estimates_of(one, view)
        cells = [found[row.name].text(row.digits) if row.name in found else "–" for row in columns]
        rows.append((method_label(name), *cells, *([_gain(methods, name)] if view == "xy" else [])))
    best = result.get("best")
    strong = frozenset(k for k, name in enumerate(methods) if name == best)
    return Table(tuple(head), tuple(rows), strong)


def estimates_of(method: Mapping[str, Any], view: str) -> dict[str, Estimate]:
    found = method.get("metrics", {}).get(view, {})
    return {
        name: Estimate(_number(one["mean"]), _number(one["low"]), _number(one["high"]), int(one["count"]))
        for name, one in found.items()
    }


def _gain(methods: Mapping[str, Any], name: str) -> str:
    own, base = (estimates_of(methods.get(one, {}), "xy").get("psnr") for one in (name, BASELINE))
    if name == BASELINE or own is None or base is None or own.mean is None or base.mean is None:
        return ""
    apart = own.mean - base.mean
    return f"{apart:+.2f} dB".replace("-", "−") if abs(apart) < float("inf") else ""


def _number(value: Any) -> float | None:
    """A number of JSON: infinity is text there."""
    return None if value is None else float(value)


def resolution_table(result: Mapping[str, Any]) -> Table | None:
    """Resolutions in nm, a method a row; None where none were measured."""
    columns: dict[str, dict[str, Mapping[str, Any]]] = {}
    titles = {"xy": "inferred slices, in plane", "along_z": "xz planes, along z", "in_plane": "xz planes, in plane"}
    for name, one in result["methods"].items():
        for part in one.get("by_distance", ()):
            if "resolution" in part:
                columns.setdefault(_away(part["distance"]), {})[name] = part["resolution"]
        for where, found in one.get("resolution", {}).items():
            columns.setdefault(titles.get(where, where), {})[name] = found
    if not columns:
        return None
    head = ("method", *[f"{title} (nm)" for title in columns])
    rows = []
    for name in result["methods"]:
        cells = [_resolution_cell(by_method.get(name)) for by_method in columns.values()]
        rows.append((method_label(name), *cells))
    return Table(head, tuple(rows))


def _away(slices: float) -> str:
    return f"{slices:g} slice{'' if slices == 1 else 's'} from a kept one"


def _resolution_cell(found: Mapping[str, Any] | None) -> str:
    """Both criteria."""
    if found is None:
        return "–"
    limit = float(found["limit_nm"])
    told = [resolution_text(_number(found["nm"].get(one.name)), limit) for one in CRITERIA]
    return "; ".join(told)


def correlation_plot(result: Mapping[str, Any]) -> Plot | None:
    """Ring correlation of inferred with true slices, a line a method, with both thresholds."""
    curves = {
        name: one["resolution"]["xy"] for name, one in result["methods"].items() if "xy" in one.get("resolution", {})
    }
    if not curves:
        return None
    any_curve = next(iter(curves.values()))
    frequencies = [float(value) for value in any_curve["frequency_per_nm"]]
    most = frequencies[-1]

    def drawn(values: Sequence[float]) -> str:
        return " ".join(f"{_x(f, most):.1f},{_y(v):.1f}" for f, v in zip(frequencies, values, strict=False))

    colours = method_colours(curves)
    lines = [Line(drawn(one["correlation"]), colours[name], method_label(name)) for name, one in curves.items()]
    lines.append(Line(drawn([1 / 7] * len(frequencies)), "#555555", "1/7", dashed=True))
    lines.append(Line(drawn(any_curve["half_bit"]), "#aa7700", "half-bit", dashed=True))
    ticks = [(_x(most * part / 4, most), f"{4 / (most * part):.3g} nm") for part in (1, 2, 3, 4)]
    levels = [(_y(value), f"{value:g}") for value in (0.0, 0.5, 1.0)]
    return Plot(tuple(lines), tuple(ticks), tuple(levels))


def _x(frequency: float, most: float) -> float:
    return _LEFT + (CURVE_WIDTH - _LEFT - 16) * frequency / most


def _y(correlation: float) -> float:
    shown = min(max(correlation, 0.0), 1.0)
    return _TOP + (CURVE_HEIGHT - _TOP - _BOTTOM) * (1 - shown)


def coverage_table(result: Mapping[str, Any]) -> Table | None:
    """How much of the truth lies within each band of the error bars; None where no method has any."""
    covered = {name: one["coverage"] for name, one in result["methods"].items() if one.get("coverage")}
    if not covered:
        return None
    bands = next(iter(covered.values()))["bands"]
    head = ("method", *[f"within the {100 * float(band):g} % band" for band in bands])
    rows = [
        (method_label(name), *[f"{100 * float(share):.1f} %" for share in one["overall"]])
        for name, one in covered.items()
    ]
    return Table(head, tuple(rows))
