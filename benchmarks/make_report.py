"""Make docs/benchmarks.md and its figures from the results in benchmarks/results.

    python benchmarks/make_report.py
    python benchmarks/make_report.py --check      # exit code 1 if the page is not what the results say

Nothing in the page is typed by hand: change the results or this script.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _machine import HERE, RESULTS

from napari_emgauss.evaluation import method_colours

PAGE = HERE.parent / "docs" / "benchmarks.md"
FIGURES = "images/benchmarks"

Row = dict[str, Any]
Result = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the page that belongs to one result."""

    name: str
    title: str
    intro: str


SECTIONS = (
    Section(
        "ablation",
        "Ablation",
        "Every row of the paper's ablation table is a switch in the settings, so the table can be run. The full "
        "method is above linear interpolation in all three measures at both factors. What holds of the paper's "
        "table at full length, on a crop small enough for a CPU: without the teacher-student stage 0.15 dB are "
        "lost, and without warm-up 0.4 dB at ×5, where it falls below linear interpolation. What does not: joint "
        "stage, opacity that moves and rotation that does not make 0.1 dB at most; the paper's largest loss, 2.6 "
        "dB without the joint stage, is not seen, nor that a rotation that moves does harm.",
    ),
    Section(
        "paper",
        "What the paper leaves silent",
        "The preset paper with one silent choice made another way. The table of choices is at 30 % of the length, "
        "where the preset is 0.2 dB below linear interpolation (at full length above, see the ablation). What "
        "matters most is what a slice is: shown as a plane it keeps the noise of the slice that Gaussians were "
        "fitted to; with a thickness, as the mean over the distance to the next, it leaves that noise behind. "
        "Fitted to planes and only shown so, at full length (the tables Planes), it is above linear interpolation, "
        "too.",
    ),
    Section(
        "error_bars",
        "Error bars",
        "How much of the dropped slices lies within bands that are meant to hold 50, 90 and 95 % of it.",
    ),
    Section(
        "referee",
        "What referees ask for",
        "Resolution in nm, perceptual indices and 3D PSNR, each mean with ± half of its 95 % interval over slices.",
    ),
    Section("masks", "Structures", "How well mitochondria are found in reconstructed slices of epfl."),
    Section("texture", "Texture", "What the textured look brings and costs beside the smooth one and linear."),
    Section("prior_classical", "Classical priors", "The interpolations that cost nothing to learn."),
    Section(
        "prior_learned", "Learned priors", "What was tried to improve the pseudo-labels, and what each idea brought."
    ),
    Section(
        "prior_bounds",
        "How much better a prior could be",
        "The learned prior beside priors that know what nobody can know: trained on true planes along z of the other "
        "half; put in place as a whole, slice by slice; and the noise of the truth alone.",
    ),
    Section("prior_experiments", "Priors: what was tried", "Every idea with its result, including those that failed."),
    Section("student", "Student and teacher", "Whether the Gaussian fit gains or loses against its own pseudo-labels."),
    Section(
        "motion",
        "Observed slices, carried along",
        "More than a copy of the prior: observed slices, carried along what a fitted model shows and mixed into it. "
        "Along an optical flow through its inferred slices they add what was measured; along the Gaussians' own motion "
        "they do not. So the learned prior carries slices along that flow itself.",
    ),
    Section("slices", "Slices as they are", "Thick slices and misaligned slices, on generated tissue."),
    Section("labels", "Labels", "How well labels of every F-th slice are carried to the slices between."),
    Section(
        "published",
        "Beside published tables",
        "Figures of papers that state their factor, and ours by their protocol on our blocks of the same data sets.",
    ),
    Section("denoise", "Denoising and pruning", "What they do to quality and to the number of Gaussians."),
    Section("modalities", "Other modalities", "A fluorescence stack of a whole mouse brain, 16 bit."),
    Section("fit_speed", "Speed of a fit", "How many seconds a fit takes, and where they go."),
    Section(
        "whole_fits", "Whole fits", "What a fit takes from the command line, and what `emgauss plan` says beforehand."
    ),
    Section("render_speed", "Speed of the renderer", "All backends against the plain torch reference."),
    Section("gpu", "On a GPU", "Renderers and fits on a graphics card: parity, speed and memory."),
    Section("gui", "In napari", "Scrubbing while a fit runs, and what each costs the other."),
    Section("memory", "Memory", "Peak memory against the size of the volume."),
    Section(
        "calibrate",
        "What estimates count with",
        "The constants behind the times and the memory that the command plan and the dock tell beforehand.",
    ),
    Section("tiles", "Tiles", "Large volumes in tiles: seams, growth with size, workers."),
)
MISSING = {
    "gpu": """| what, on one card of the H200's class, block of 768 × 1024 pixels, 16 slices, ×10 | aim | measured |
| --- | --- | --- |
| `default`, prior included | below 60 s | not measured yet |
| its PSNR over the ensemble's | at least 0.3 dB | not measured yet |
| slices of 1024 × 1024 | 200 a second | not measured yet |
| isotropic volume to memory | 100 Mvoxel/s | not measured yet |
| peak GPU memory | below 8 GB | not measured yet |
| Triton against gsplat | side by side | not measured yet |"""
}
"""What a result will have to say, where there is none yet."""
EXPECTED = ("ablation", "fit_speed", "render_speed", "gpu", "memory")  # said to be missing where they are

PAPER = """\
## The paper's figures, and why ours do not stand beside them

The paper (EMGauss, CVPR 2026) reports, as PSNR / SSIM / FSIM:

| | EPFL | FIB-25 |
|---|---|---|
| EMGauss, as published | 26.59 / 0.698 / 0.943 | 27.37 / 0.728 / 0.920 |

The learned methods that it compares with lie between 21.5 and 24.1 dB.

These are **not** the crops above, and no figure here should be read against them:

* the paper's crops, kept slices and code are not published, so nobody can repeat its numbers on its data;
* decibels depend on the noise, the contrast and the structures of a crop: on ours, plain linear interpolation at a
  factor of 8 or 10 already lies beside or above the learned methods of the paper's table;
* SSIM and FSIM differ between implementations in window and data range; ours are stated above.

What can be compared is a method with another on the same crop under the same protocol. That is what `emgauss evaluate`
does on any isotropic volume, and `emgauss score` on any stack ([how to](how-to/evaluate.md)).
"""


def main() -> int:
    """Write the page, or check it."""
    arguments = parse()
    results = read_results(Path(arguments.results), tracked_only=arguments.tracked)
    target = Path(arguments.page)
    figures = Figures(target.parent / FIGURES, draw=not arguments.check)
    text = page(results, figures)
    if arguments.check:
        there = target.read_text(encoding="utf-8") if target.is_file() else ""
        if there != text:
            print(f"{target.name} is not what the results say: run python benchmarks/make_report.py", file=sys.stderr)
            return 1
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    print(f"Wrote {target} from {', '.join(results) or 'no result'}.")
    return 0


def read_results(folder: Path, *, tracked_only: bool) -> dict[str, Result]:
    """All results in the common form, by name; others are told and left out."""
    found: dict[str, Result] = {}
    paths = sorted(folder.glob("*.json"))
    if tracked_only and paths:
        listed = subprocess.run(
            ["git", "ls-files", "."], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.split()
        paths = [path for path in paths if path.name in listed]
    for path in paths:
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and {"benchmark", "rows"} <= set(data):
            found[path.stem] = data
        else:
            print(f"{path.name} is not in the common form (benchmarks/README.md): left out.", file=sys.stderr)
    return found


def page(results: dict[str, Result], figures: Figures) -> str:
    """The whole page."""
    parts = [
        "# Benchmarks",
        "<!-- Made by `python benchmarks/make_report.py` from benchmarks/results. Do not edit by hand. -->",
        "Every number on this page comes from a command in `benchmarks/`, shown with the machine that it ran on. "
        "Times are "
        "for that machine: compare ratios. The volumes are public crops that are not part of the project; "
        "`benchmarks/README.md` says where they come from and how to run everything.",
        quality_part(results.get("quality"), figures),
        PAPER,
    ]
    named = {section.name for section in SECTIONS} | {"quality"}
    for section in SECTIONS:
        own = {name: one for name, one in results.items() if name == section.name}
        parts_of = f"{section.name}_"
        own |= {name: one for name, one in results.items() if name.startswith(parts_of) and name not in named}
        if not own and section.name not in EXPECTED:
            continue
        parts += [f"## {section.title}", section.intro]
        if not own:
            parts.append(f"Not measured yet: `python benchmarks/{section.name}.py`.")
            parts += [MISSING[section.name]] if section.name in MISSING else []
        for name, one in own.items():
            if len(own) > 1 or name != section.name:
                parts.append(f"### {words(name.removeprefix(section.name).strip('_') or section.title)}")
            parts += plain_part(name, one, figures)
        named |= set(own)
    for name in results.keys() - named:
        parts += [f"## {words(name)}", *plain_part(name, results[name], figures)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


# Quality ----------------------------------------------------------------------------------------------------------


def quality_part(result: Result | None, figures: Figures) -> str:
    """Tables by volume and factor, with gains over linear and curves by distance."""
    if result is None:
        return "## Quality\n\nNot measured yet: `python benchmarks/quality.py`."
    rows = [row for row in result["rows"] if row.get("crop") is None]
    thinned = [row for row in rows if row["factor"] is not None]
    hidden = [row for row in rows if row["factor"] is None]
    parts = ["## Quality", result.get("notes", ""), made_by(result)]
    for volume in dict.fromkeys(row["volume"] for row in thinned):
        parts.append(f"### {volume}, in plane (xy)")
        parts.append(by_factor(thinned, volume, ("xy",), lambda row: triple(row, "xy")))
        parts.append(f"### {volume}, across (xz and yz)")
        parts.append(by_factor(thinned, volume, ("xz", "yz"), lambda row: f"{pair(row, 'xz')} · {pair(row, 'yz')}"))
        parts.append("PSNR / SSIM of xz · of yz, whole planes.")
    if thinned:
        parts.append(figures.gains(thinned))
        parts.append(figures.distances(thinned))
        times = time_table(thinned)
        parts += ["### Time", times] if times else []
    for volume in dict.fromkeys(row["volume"] for row in hidden):
        parts.append(f"### {volume}, hold-out")
        own = [row for row in hidden if row["volume"] == volume]
        linear = next((row["xy_psnr"] for row in own if row["method"] == "linear"), None)
        head = ["method", "PSNR", "SSIM", "FSIM", "over linear", "prior chosen"]
        lines = [
            [
                row["method"],
                *[cell(row[f"xy_{name}"], name) for name in ("psnr", "ssim", "fsim")],
                "–" if linear is None else f"{row['xy_psnr'] - linear:+.2f} dB",
                row.get("prior") or "",
            ]
            for row in own
        ]
        parts.append(markdown(head, lines))
    return "\n\n".join(part for part in parts if part)


def by_factor(rows: list[Row], volume: str, views: tuple[str, ...], text: Any) -> str:
    """One line a method, one column a factor; the best PSNR of each column in bold."""
    own = [row for row in rows if row["volume"] == volume]
    factors = sorted({row["factor"] for row in own})
    methods = list(dict.fromkeys(row["method"] for row in own))
    known = {(row["method"], row["factor"]): row for row in own}

    def level(row: Row) -> float:
        return sum(number(row[f"{view}_psnr"]) for view in views)

    best = {factor: max((row for row in own if row["factor"] == factor), key=level)["method"] for factor in factors}
    lines = []
    for method in methods:
        cells = [method]
        for factor in factors:
            row = known.get((method, factor))
            shown = "–" if row is None else text(row)
            cells.append(f"**{shown}**" if row is not None and best[factor] == method else shown)
        lines.append(cells)
    return markdown(["method", *[f"×{factor}" for factor in factors]], lines)


def time_table(rows: list[Row]) -> str:
    """Seconds and memory of each method, and the prior that a fit chose."""
    lines = [
        [
            f"{row['volume']} ×{row['factor']}",
            row["method"],
            cell(row["seconds"], "seconds"),
            cell(row.get("peak_memory_mb"), "mb"),
            row.get("prior") or "",
        ]
        for row in rows
        if (row["seconds"] or 0) >= 1
    ]
    if not lines:
        return ""
    return markdown(["volume", "method", "seconds", "peak memory (MiB)", "prior chosen"], lines)


def triple(row: Row, view: str) -> str:
    """PSNR / SSIM / FSIM."""
    return " / ".join(cell(row[f"{view}_{name}"], name) for name in ("psnr", "ssim", "fsim"))


def pair(row: Row, view: str) -> str:
    """PSNR / SSIM."""
    return " / ".join(cell(row[f"{view}_{name}"], name) for name in ("psnr", "ssim"))


# Any other result --------------------------------------------------------------------------------------------------


def plain_part(name: str, result: Result, figures: Figures) -> list[str]:
    """Table, notes, machine and the figures that the result asks for."""
    rows = result["rows"]
    parts = [result.get("notes", ""), made_by(result)]
    # Rows that say different things (a result may hold several) stand in tables of their own.
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(result.get("columns") or row), []).append(row)
    for keys, own in groups.items():
        columns = [key for key in keys if not is_curve(own, key) and any(row.get(key) is not None for row in own)]
        lines = [[cell(row.get(column), column) for column in columns] for row in own]
        parts.append(markdown([words(column) for column in columns], lines))
    if not rows:
        parts.append("No rows.")
    plots = result.get("plot") or []
    for position, plot in enumerate([plots] if isinstance(plots, dict) else plots):
        parts.append(figures.of_plot(f"{name}_{position + 1}", rows, plot))
    return [part for part in parts if part]


def is_curve(rows: list[Row], key: str) -> bool:
    """Whether a column holds lists or mappings, which tables leave out."""
    return any(isinstance(row.get(key), (list, dict)) for row in rows)


def made_by(result: Result) -> str:
    """Command, machine and date as one line."""
    machine = result.get("machine") or {}
    known = [
        machine.get("cpu"),
        f"{machine['cores']} cores" if machine.get("cores") else None,
        f"{machine['memory_gb']:g} GB" if machine.get("memory_gb") else None,
        machine.get("gpu"),
        f"Python {machine['python']}" if machine.get("python") else None,
        f"torch {machine['versions']['torch']}" if (machine.get("versions") or {}).get("torch") else None,
        f"commit {machine['commit']}" if machine.get("commit") else None,
    ]
    text = ", ".join(str(item) for item in known if item)
    return f"`{result.get('command', '')}` on {text or 'an unnamed machine'}, {result.get('date', 'undated')}."


# Cells ---------------------------------------------------------------------------------------------------------------


def cell(value: Any, kind: str) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, str)):
        return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
    if not isinstance(value, float):
        return json.dumps(value)
    if "psnr" in kind or kind.endswith("_db"):
        return f"{value:.2f}"
    if "ssim" in kind or "fsim" in kind or kind.endswith("_iou"):
        return f"{value:.3f}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def number(value: Any) -> float:
    """A score as a number: "inf" and null as well."""
    if value is None:
        return -math.inf
    return float(value)


UNITS = {"mb": "MB", "gb": "GB", "ms": "ms", "s": "s", "nm": "nm", "pixels": "pixels", "db": "dB"}


def words(name: str) -> str:
    """A column's or file's name as a heading, a unit at its end in brackets."""
    parts = name.split("_")
    unit = UNITS.get(parts[-1]) if len(parts) > 1 else None
    text = " ".join(parts[:-1] if unit else parts)
    return text[:1].upper() + text[1:] + (f" ({unit})" if unit else "")


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# Figures -------------------------------------------------------------------------------------------------------------


class Figures:
    """Draws figures into a folder and gives the markdown that shows them."""

    def __init__(self, folder: Path, *, draw: bool) -> None:
        self.folder = folder
        self.draw = draw

    def gains(self, rows: list[Row]) -> str:
        """Decibels over linear, by cell."""
        linear = {(row["volume"], row["factor"]): row["xy_psnr"] for row in rows if row["method"] == "linear"}
        cells = list(dict.fromkeys((row["volume"], row["factor"]) for row in rows))
        cells = [one for one in cells if one in linear]
        methods = [one for one in dict.fromkeys(row["method"] for row in rows) if one not in ("linear", "nearest")]
        known = {(row["method"], row["volume"], row["factor"]): row["xy_psnr"] for row in rows}
        if not cells or not methods:
            return ""
        if self.draw:
            figure, axes = self._start(8.5, 3.6)
            width, colours = 0.85 / len(methods), method_colours(methods)
            for position, method in enumerate(methods):
                offsets = [i + (position - (len(methods) - 1) / 2) * width for i in range(len(cells))]
                heights = [known[(method, *one)] - linear[one] if (method, *one) in known else 0.0 for one in cells]
                axes.bar(offsets, heights, width, label=method, color=colours[method])
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set_xticks(range(len(cells)), [f"{volume} ×{factor}" for volume, factor in cells])
            axes.set_ylabel("PSNR over linear (dB)")
            figure.legend(fontsize=7, ncols=len(methods), frameon=False, loc="outside upper center")
            self._save(figure, "quality_gain")
        return f"![PSNR of each method over linear interpolation]({FIGURES}/quality_gain.svg)"

    def distances(self, rows: list[Row]) -> str:
        """PSNR against the distance from the nearest kept slice, for the middle factor."""
        curves = [row for row in rows if row.get("xy_psnr_by_distance")]
        factors = sorted({row["factor"] for row in curves})
        if not factors:
            return ""
        factor = factors[len(factors) // 2]
        volumes = list(dict.fromkeys(row["volume"] for row in curves if row["factor"] == factor))
        if self.draw:
            figure, panels = self._start(4.2 * len(volumes), 3.4, panels=len(volumes))
            colours = method_colours(dict.fromkeys(row["method"] for row in curves))
            for axes, volume in zip(panels, volumes, strict=True):
                for row in curves:
                    if (row["volume"], row["factor"]) == (volume, factor):
                        distance, level = zip(*row["xy_psnr_by_distance"], strict=True)
                        shown = {"color": colours[row["method"]], "label": row["method"]}
                        axes.plot(distance, level, marker="o", markersize=3, **shown)
                axes.set_title(f"{volume} ×{factor}", fontsize=9)
                axes.set_xlabel("slices from the nearest kept one")
                axes.set_xticks(range(1, factor // 2 + 1))
            panels[0].set_ylabel("PSNR (dB)")
            panels[-1].legend(fontsize=7, frameon=False)
            self._save(figure, "quality_distance")
        return f"![PSNR against distance from the nearest kept slice]({FIGURES}/quality_distance.svg)"

    def of_plot(self, name: str, rows: list[Row], plot: dict[str, Any]) -> str:
        """A line plot that a result asks for (benchmarks/README.md)."""
        where = plot.get("where") or {}
        x, series = plot["x"], plot.get("series")
        chosen = [row for row in rows if all(row.get(key) == value for key, value in where.items())]
        chosen = [row for row in chosen if row.get(x) is not None]
        if not chosen:
            return ""
        title = plot.get("title") or words(name)
        if self.draw:
            figure, axes = self._start(6.0, 3.6)
            for y in plot["y"]:
                for group in dict.fromkeys(row.get(series) for row in chosen) if series else [None]:
                    own = [row for row in chosen if series is None or row.get(series) == group]
                    points = sorted((row[x], row[y]) for row in own if isinstance(row.get(y), (int, float)))
                    if points:
                        label = " ".join(
                            str(part) for part in (group, words(y) if len(plot["y"]) > 1 else None) if part
                        )
                        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=label or None)
            if "x" in plot.get("log", ""):
                axes.set_xscale("log", base=2)
                ticks = sorted({row[x] for row in chosen})
                axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            if "y" in plot.get("log", ""):
                axes.set_yscale("log")
            if plot.get("from_zero"):
                axes.set_ylim(bottom=0)
            axes.set_xlabel(plot.get("x_label") or words(x))
            axes.set_ylabel(plot.get("y_label") or words(plot["y"][0]))
            axes.set_title(title, fontsize=10)
            if axes.get_legend_handles_labels()[1]:
                axes.legend(fontsize=8, frameon=False)
            self._save(figure, name)
        return f"![{title}]({FIGURES}/{name}.svg)"

    def _start(self, width: float, height: float, *, panels: int | None = None) -> tuple[Any, Any]:
        import matplotlib

        # The same results give the same bytes: no date, and ids that do not depend on the run.
        matplotlib.rcParams.update({"svg.hashsalt": "emgauss", "svg.fonttype": "path", "font.size": 9})
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        if panels is None:
            axes = figure.subplots()
            axes.spines[["top", "right"]].set_visible(False)
            return figure, axes
        every = list(figure.subplots(1, panels, squeeze=False)[0])
        for axes in every:
            axes.spines[["top", "right"]].set_visible(False)
        return figure, every

    def _save(self, figure: Any, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.folder / f"{name}.svg", metadata={"Date": None})


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default=str(RESULTS), metavar="FOLDER")
    parser.add_argument("--page", default=str(PAGE), metavar="FILE")
    parser.add_argument("--tracked", action="store_true", help="leave results out that git does not know")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page would change")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
