"""What mkdocs fills in while it builds: the command line from its parser, presets and priors from their
registries, the changelog.

A page says ``<!-- generated: NAME -->`` where the text goes.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page."""
    makers = {
        "command-line": command_line,
        "presets": presets,
        "priors": priors,
        "changelog": changelog,
        "metrics": metrics,
        "input-formats": input_formats,
        "export-formats": export_formats,
    }
    return re.sub(r"<!-- generated: ([a-z-]+) -->", lambda found: makers[found[1]](), markdown)


def command_line() -> str:
    """Every sub-command's help, from the parser itself."""
    from napari_emgauss.cli._main import build_parser

    os.environ["COLUMNS"] = "100"  # argparse wraps by the terminal it finds
    parser = build_parser()
    parts = [f"```text\n{parser.format_help()}```"]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                parts.append(f"## emgauss {name}\n\n```text\n{command.format_help()}```")
    return "\n\n".join(parts)


def presets() -> str:
    """One row per setting whose value differs between presets."""
    from napari_emgauss import preset, preset_names

    names = preset_names()
    values = {name: dataclasses.asdict(preset(name)) for name in names}
    lines = ["| setting | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for key in values[names[0]]:
        row = [values[name][key] for name in names]
        if any(value != row[0] for value in row):
            lines.append(f"| `{key}` | " + " | ".join(f"{value}" for value in row) + " |")
    return "\n".join(lines)


def priors() -> str:
    """One row a prior, from the registry."""
    from napari_emgauss.priors import priors_known

    lines = ["| prior | what it does | when |", "|---|---|---|"]
    for row in priors_known(entry_points=False):
        efforts = f" Efforts: {', '.join(f'`{row.name}:{effort}`' for effort in row.efforts)}." if row.efforts else ""
        lines.append(f"| `{row.name}` | {row.summary}.{efforts} | {row.suits} |")
    return "\n".join(lines)


def metrics() -> str:
    """One row a metric, from the registry."""
    from napari_emgauss.evaluation import METRICS

    measured = {"image": "xy, xz, yz planes", "volume": "all voxels", "segments": "cells in dropped slices"}
    lines = ["| metric | of | better | how | needs |", "|---|---|---|---|---|"]
    lines += [f"| {row.label} | {measured[row.of]} | {row.better} | {row.how} | {row.needs} |" for row in METRICS]
    return "\n".join(lines)


def input_formats() -> str:
    """One row per format that stacks are read from, as the registry has it."""
    from napari_emgauss.stack import input_formats as registered

    lines = [
        "| format | name | read | refused | voxel size from | checked with | needs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in registered(entry_points=False):
        endings = ", ".join(f"`{ending}`" for ending in row.endings) or "a folder, or a pattern"
        needs = f"`{row.install_command}`" if row.install else ""
        cells = (row.label, endings, row.reads, row.refuses, row.voxel_size, row.checked_with, needs)
        lines.append(f"| {' | '.join(cells)} |")
    chosen = [f"* {row.label}: {row.dataset}" for row in registered(entry_points=False) if row.dataset]
    return "\n".join([*lines, "", "What `--dataset` chooses:", "", *chosen])


def export_formats() -> str:
    """One row per format that volumes are written in, as the registry has it."""
    from napari_emgauss.volume import output_formats

    lines = [
        "| format | `--format` | name | what is written | types of grey values | read back with | needs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in output_formats(entry_points=False):
        types = ", ".join(row.dtypes) + ("" if row.has_channels else "; one channel")
        endings = ", ".join(f"`iso{ending}`" for ending in row.endings)
        needs = f"`{row.install_command}`" if row.install_command else ""
        cells = (row.label, f"`{row.name}`", endings, row.note, types, row.checked_with, needs)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def changelog() -> str:
    """CHANGELOG.md without its title."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n")[2]
