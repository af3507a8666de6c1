"""``emgauss labels`` and ``emgauss points``: what belongs to slices, in the volume, and back."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_emgauss._errors import ConfigError, StackError
from napari_emgauss._files import write_text
from napari_emgauss.cli._inputs import STEADY_STDERR, say, say_notes
from napari_emgauss.cli._outputs import output_path, refuse_source

if TYPE_CHECKING:
    from napari_emgauss.labels import CarriedLabels, LabelledSlices

_COLUMNS = (("z", "y", "x"), ("axis-0", "axis-1", "axis-2"))


def run_labels_command(arguments: argparse.Namespace) -> int:
    """Carry labels up, bring them down, or tell how well they are carried."""
    if arguments.score and arguments.down:
        raise ConfigError("--score hides labelled slices, --down brings a volume back: choose one of them.")
    if arguments.majority is not None and not arguments.down:
        raise ConfigError("--majority needs --down: it sets how a volume is brought back.")
    if (arguments.json or arguments.every) and not arguments.score:
        raise ConfigError("--json and --every need --score: give it as well.")
    if arguments.output is None and not arguments.score:
        raise ConfigError("Nothing would be written: give a file with -o FILE, or add --score.")
    if arguments.down:
        return _bring_down(arguments)
    return _score(arguments) if arguments.score else _carry_up(arguments)


def run_points_command(arguments: argparse.Namespace) -> int:
    """Convert a table of places."""
    output = output_path(arguments, "output")
    rows, columns = _read_points(Path(arguments.points))
    from napari_emgauss.tiles import load
    from napari_emgauss.volume import PointGrids

    grids = PointGrids.of(
        load(arguments.model, device="cpu"), spacing_nm=arguments.spacing, z_range_nm=arguments.z_range
    )
    try:
        places = [[float(row[column]) for column in columns] for row in rows]
    except (TypeError, ValueError) as error:
        raise StackError(f"'{arguments.points}' holds a position that is not a number: {error}.") from error
    if places:
        for row, place in zip(rows, grids.convert(places, arguments.source, arguments.target), strict=True):
            row.update(zip(columns, (f"{value:.10g}" for value in place), strict=True))
    lines = [",".join(_quoted(name) for name in rows[0]) if rows else ",".join(columns)]
    lines += [",".join(_quoted(value) for value in row.values()) for row in rows]
    write_text(output, "\n".join(lines) + "\n")
    say(f"Wrote '{output}': {len(rows)} points, converted from {arguments.source} to {arguments.target}.")
    return 0


def _carry_up(arguments: argparse.Namespace) -> int:
    from napari_emgauss.volume import is_folder_format

    output = Path(arguments.output)
    # Into the OME-Zarr with the image: what is written is a new folder within it, which export_labels looks after.
    if arguments.z is not None or not output.is_dir():
        is_folder = arguments.z is None and is_folder_format(arguments.output, arguments.format)
        output = output_path(arguments, "output", folder=is_folder)
    carried = _carried(arguments)
    refuse_source(carried.model, output)
    if arguments.z is not None:
        from napari_emgauss.cli._render import write_image

        depths = [float(z) for z in arguments.z]
        images = carried.render(depths[0] if len(depths) == 1 else depths)
        write_image(output, images, pixel_size_nm=carried.pixel_size_nm, z_nm=depths)
        say(f"Wrote '{output}': labels at {len(depths)} depths.")
        return 0
    from napari_emgauss.labels import export_labels

    with _bar("labels", arguments.quiet) as bar:
        written = export_labels(
            carried,
            output,
            name=arguments.name,
            spacing_nm=arguments.spacing,
            z_range_nm=None if arguments.z_range is None else tuple(arguments.z_range),
            format=arguments.format,
            overwrite=arguments.force,
            on_note=say,
            on_progress=lambda update: bar.update((update.fraction or 0.0) - bar.n),
        )
    say(f"Wrote '{written}': {len(carried.labels.labelled)} labelled slices carried by {carried.method}.")
    return 0


def _score(arguments: argparse.Namespace) -> int:
    report = None if arguments.json is None else output_path(arguments, "json")
    labels, model = _labels_and_model(arguments)
    from napari_emgauss.labels import CARRY_METHODS, score_labels

    methods = tuple(CARRY_METHODS) if arguments.method in (None, "auto") else (arguments.method,)
    with _bar("score", arguments.quiet) as bar:
        scores = score_labels(
            labels,
            model,
            methods=methods,
            every=tuple(arguments.every or (2,)),
            on_progress=lambda update: bar.update((update.fraction or 0.0) - bar.n),
        )
    for score in scores:
        print(f"every {score.every}th labelled slice kept, {len(score.hidden)} hidden")
        print(f"{'method':<10} {'voxels right':<26} {'Dice':<26} {'VOI (bit)':<26} adapted Rand error")
        for name, found in score.methods.items():
            columns = (found.voxels, found.dice, found.voi, found.adapted_rand_error)
            print(f"{name:<10} " + " ".join(f"{column!s:<26}" for column in columns).rstrip())
    if report is not None:
        write_text(report, json.dumps([score.to_dict() for score in scores], indent=1) + "\n")
        say(f"Wrote '{report}'.")
    return 0


def _bring_down(arguments: argparse.Namespace) -> int:
    output = output_path(arguments, "output")
    from napari_emgauss.labels import bring_back, depths_covered, notes_on_labels, write_slices
    from napari_emgauss.stack import Frame, Selection, open_file, slices_text
    from napari_emgauss.tiles import load
    from napari_emgauss.volume import SourceSlices

    model = load(arguments.model, device="cpu")
    refuse_source(model, output)
    opened = open_file(Path(arguments.labels), Selection(arguments.dataset))
    say_notes(notes_on_labels(opened, model, Path(arguments.labels).name))
    volume = opened.slices
    _check_volume(volume, model, arguments)
    depths = _depths_of(volume, model, arguments)
    slices = SourceSlices.of(model)
    found = bring_back(
        volume,
        depths,
        slices.z_nm,
        method="nearest" if arguments.majority is None else "majority",
        thickness_nm=arguments.majority,
        offsets_px=slices.offsets_px,
        unlabelled=arguments.unlabelled or 0,
    )
    write_slices(output, found, Frame(slices.z_nm, model.pixel_size_nm, found.shape))
    say(f"Wrote '{output}': {len(found)} slices, {found.dtype}.")
    missing = slices.numbers[~depths_covered(depths, slices.z_nm)]
    if len(missing):
        nothing = "not a number" if found.dtype.kind == "f" else str(arguments.unlabelled or 0)
        say(f"The volume does not reach slices {slices_text(missing)}: they are {nothing}.")
    return 0


def _check_volume(volume: Any, model: Any, arguments: argparse.Namespace) -> None:
    """Refuse what is no volume on the model's isotropic grid."""
    shape = tuple(int(n) for n in volume.shape)
    if len(shape) != 3:
        raise StackError(
            f"'{arguments.labels}' holds several values for each voxel, as colour images do: give labels, a "
            "mask or a probability, one number for each voxel."
        )
    if shape[1:] != model.shape[1:]:
        raise StackError(
            f"'{arguments.labels}' has slices of {shape[1]} x {shape[2]} pixels, but those of the "
            f"stack are {model.shape[1]} x {model.shape[2]}: give a volume on the model's isotropic grid."
        )


def _depths_of(volume: Any, model: Any, arguments: argparse.Namespace) -> Any:
    """Where the slices of a volume lie: as the options say, else as its file does, else on the grid of an export."""
    from napari_emgauss.labels import depths_in_file
    from napari_emgauss.volume import grid_depths

    count = int(volume.shape[0])
    expected = grid_depths(model, spacing_nm=arguments.spacing, z_range_nm=arguments.z_range)
    if arguments.spacing is None and arguments.z_range is None and count != len(expected):
        told = depths_in_file(arguments.labels, count)
        if told is not None:
            say(f"'{arguments.labels}' says that it reaches from {told[0]:g} to {told[-1]:g} nm.")
            return told
    if count != len(expected):
        raise StackError(
            f"'{arguments.labels}' has {count} slices, but the isotropic grid has {len(expected)}: give the "
            "--spacing and "
            "the --z-range that it was exported with."
        )
    return expected


def _carried(arguments: argparse.Namespace) -> CarriedLabels:
    from napari_emgauss.labels import carry_labels

    labels, model = _labels_and_model(arguments)
    return carry_labels(labels, model, arguments.method or "auto")


def _labels_and_model(arguments: argparse.Namespace) -> tuple[LabelledSlices, Any]:
    from napari_emgauss.labels import read_labels
    from napari_emgauss.stack import slices_text
    from napari_emgauss.tiles import load
    from napari_emgauss.volume import one_channel

    model: Any = load(arguments.model, device=arguments.device)
    if model.channels > 1 or arguments.channel is not None:
        model = one_channel(model, arguments.channel or 0)
    labels = read_labels(
        arguments.labels,
        model,
        labelled=arguments.slices,
        unlabelled=arguments.unlabelled,
        dataset=arguments.dataset,
    )
    say_notes(labels.notes)
    if labels.unused:
        say(f"The model was fitted without slices {slices_text(labels.unused)}: their labels are not used.")
    return labels, model


def _read_points(path: Path) -> tuple[list[dict[str, Any]], tuple[str, str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            rows = list(reader)
    except FileNotFoundError:
        raise StackError(f"There is no table '{path}': check the name.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StackError(f"'{path}' cannot be read as a table of points: {error}.") from error
    for columns in _COLUMNS:
        if set(columns) <= set(names):
            break
    else:
        raise StackError(f"'{path}' has the columns {', '.join(names) or 'none'}: name three of them z, y and x.")
    uneven = next((k for k, row in enumerate(rows, start=2) if None in row or None in row.values()), None)
    if uneven is not None:
        raise StackError(f"Line {uneven} of '{path}' does not have as many columns as the first line: correct it.")
    return rows, columns


def _quoted(value: Any) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n\r') else text


def _bar(title: str, is_quiet: bool) -> Any:
    from tqdm import tqdm

    return tqdm(
        file=STEADY_STDERR,
        total=1.0,
        disable=is_quiet,
        desc=title,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {remaining} left",
    )
