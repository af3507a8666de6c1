"""Sub-commands and their options, without what they do: this module imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from napari_emgauss.cli import _arguments as kinds
from napari_emgauss.cli._inspect_commands import add_check, add_doctor, add_info, add_presets, add_sample
from napari_emgauss.cli._options import DEVICE_HELP, Commands, add_fit_options, add_stack_options, command
from napari_emgauss.cli._score_commands import add_evaluate, add_report, add_score
from napari_emgauss.priors import prior_help
from napari_emgauss.stack import dataset_help
from napari_emgauss.volume import COMPANION_ROWS, LOOK_ROWS, LOOKS, output_formats


def add_fit(commands: Commands) -> None:
    """``emgauss fit``."""
    parser = command(commands, "fit", "_fit:run_fit_command", "fit a model to an anisotropic stack")
    parser.add_argument(
        "stack", metavar="STACK", help="TIFF, OME-TIFF, ImageJ TIFF or a stack in any other format that can be read"
    )
    parser.add_argument("-o", "--output", metavar="MODEL", help="model file to write (default: STACK.safetensors)")
    parser.add_argument("--prior", help=prior_help())
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="CHECKPOINT",
        help="continue an interrupted fit (default: from the checkpoint beside MODEL)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite MODEL")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    add_stack_options(parser)
    add_fit_options(parser)
    group = parser.add_argument_group("what the slices are")
    group.add_argument(
        "--sampling",
        choices=("point", "slab"),
        help="what a slice is: tissue at one depth, or the mean over its thickness (default: as the preset has it, "
        "point in all but paper)",
    )
    group.add_argument(
        "--learn-shifts",
        dest="slice_shifts",
        action="store_true",
        default=None,
        help="learn a small translation of every slice together with the model, and report it",
    )
    _add_tile_options(parser)


def _add_tile_options(parser: argparse.ArgumentParser) -> None:
    """How to cut a volume into tiles and who fits them: any of these makes MODEL a folder of tiles."""
    group = parser.add_argument_group(
        "tiles, for volumes larger than memory", "any of these makes MODEL a folder (default: STACK.emgauss)"
    )
    group.add_argument(
        "--memory", metavar="AMOUNT", help="memory for the whole run, such as 8GB; determines the size of the tiles"
    )
    group.add_argument(
        "--workers", type=kinds.count, metavar="N", help="number of processes that fit tiles in parallel"
    )
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="fit on the dask cluster at tcp://host:port instead, or at tls://host:port with your own certificates",
    )
    group.add_argument("--tile", type=kinds.count, metavar="PIXELS", help="largest side of a tile, without halo")
    group.add_argument("--halo", type=kinds.count, metavar="PIXELS", help="how far a tile reaches beyond its borders")
    group.add_argument(
        "--window", type=kinds.count, metavar="SLICES", help="largest number of slices in a depth window"
    )
    group.add_argument(
        "--overlap", type=kinds.count, metavar="SLICES", help="slices shared by neighbouring depth windows"
    )


def add_plan(commands: Commands) -> None:
    """``emgauss plan``."""
    parser = command(
        commands, "plan", "_tiles:run_plan_command", "show the tiles, memory, disk space and time that a fit needs"
    )
    parser.add_argument("stack", metavar="STACK", help="stack to fit")
    parser.add_argument("--prior", help="what makes the pseudo-labels, as for 'emgauss fit'")
    parser.add_argument(
        "--measure",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure the speed of this machine first, which takes about 20 seconds, or tell the time on that of the "
        "benchmarks",
    )
    parser.add_argument("--json", action="store_true", help="print the plan and the estimate as JSON")
    add_stack_options(parser)
    add_fit_options(parser)
    _add_tile_options(parser)


def add_render(commands: Commands) -> None:
    """``emgauss render``."""
    parser = command(commands, "render", "_render:run_render_command", "render slices of a model at any depth")
    parser.add_argument("model", metavar="MODEL", help="model file written by 'emgauss fit'")
    parser.add_argument(
        "--z", nargs="+", required=True, type=kinds.number, metavar="Z", help="depths in nm; several make a stack"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write: .tif, .png or .npy")
    parser.add_argument(
        "--region", nargs=4, type=kinds.number, metavar=("Y0", "Y1", "X0", "X1"), help="part of the slice, in pixels"
    )
    parser.add_argument(
        "--shape", nargs=2, type=kinds.count, metavar=("H", "W"), help="rows and columns to sample the region with"
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--force", action="store_true", help="overwrite FILE")


def add_export(commands: Commands) -> None:
    """``emgauss export``."""
    rows = output_formats(entry_points=False)
    parser = command(commands, "export", "_render:run_export_command", "write the isotropic volume of a model")
    parser.add_argument("model", metavar="MODEL", help="model file written by 'emgauss fit'")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help=f"file to write; its ending sets the format: {', '.join(dict.fromkeys(row.ending for row in rows))}",
    )
    parser.add_argument("--spacing", type=kinds.positive_number, metavar="NM", help="z step (default: the pixel size)")
    parser.add_argument("--z-range", nargs=2, type=kinds.number, metavar=("Z0", "Z1"), help="depths to export, in nm")
    parser.add_argument(
        "--format",
        metavar="NAME",
        help="format, where the ending leaves it open: " + ", ".join(f"{row.name} ({row.label})" for row in rows),
    )
    parser.add_argument("--channel", type=int, metavar="N", help="export only this channel, counted from 0")
    parser.add_argument(
        "--original-intensity",
        action="store_true",
        help="undo the correction made by --even-out (by default the volume stays evenly bright)",
    )
    parser.add_argument(
        "--look",
        choices=LOOKS,
        default=LOOKS[0],
        help="how the volume looks: " + "; ".join(f"{row.name}: {row.summary}" for row in LOOK_ROWS),
    )
    parser.add_argument(
        "--stack",
        metavar="FILE",
        help="with --look "
        + " or ".join(row.name for row in LOOK_ROWS if row.keeps_own_slices)
        + ": the stack that the model was fitted to (default: the file it was read from)",
    )
    parser.add_argument(
        "--texture-seed",
        type=int,
        metavar="N",
        help="with --look textured: a different number gives different noise (default: 0)",
    )
    for row in COMPANION_ROWS:
        parser.add_argument(
            f"--{row.name}",
            metavar="FILE",
            help=f"also write the {row.label} to this file: {row.summary}, on the same grid",
        )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def add_repair(commands: Commands) -> None:
    """``emgauss repair``."""
    endings = ", ".join(dict.fromkeys(row.ending for row in output_formats(entry_points=False)))
    parser = command(
        commands,
        "repair",
        "_repair:run_repair_command",
        "fill the missing and damaged slices of a stack, and keep everything else byte for byte",
    )
    parser.add_argument("stack", metavar="STACK", help="stack to repair; say what is bad with --skip and --damage-mask")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help=f"stack to write; its ending sets the format: {endings}"
    )
    parser.add_argument("--mask", metavar="FILE", help="also write where pixels were filled (1) and where not (0)")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="fill from this model, fitted with the same --skip and --damage-mask (default: fit one)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--prior", help=prior_help())
    add_stack_options(parser)
    add_fit_options(parser)


def add_labels(commands: Commands) -> None:
    """``emgauss labels``."""
    parser = command(
        commands,
        "labels",
        "_labels:run_labels_command",
        "carry labels from some slices to every depth, or back to the slices",
    )
    parser.add_argument("model", metavar="MODEL", help="model file written by 'emgauss fit'")
    parser.add_argument(
        "labels",
        metavar="LABELS",
        help="integers, one image for each slice of the stack, some of them labelled; with --down, a volume on the "
        "isotropic grid: labels, a mask or a probability",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="file to write; its ending sets the format. An OME-Zarr with the exported image gets the labels beside it",
    )
    parser.add_argument(
        "--slices", metavar="LIST", help="slices that are labelled, such as 0,8,16 (default: those that are not empty)"
    )
    parser.add_argument("--unlabelled", type=int, metavar="VALUE", help="value of pixels about which nothing is known")
    parser.add_argument("--dataset", help=dataset_help())
    parser.add_argument(
        "--method",
        choices=("auto", "model", "distances", "nearest"),
        help="how to carry (default: auto, model or distances, whichever restores hidden labelled slices better)",
    )
    parser.add_argument(
        "--channel", type=int, metavar="N", help="look for motion and membranes in this channel, counted from 0"
    )
    parser.add_argument("--name", help="name of the labels in an OME-Zarr (default: the name of LABELS)")
    parser.add_argument("--z", nargs="+", type=kinds.number, metavar="Z", help="only these depths, in nm (.tif, .npy)")
    parser.add_argument("--spacing", type=kinds.positive_number, metavar="NM", help="z step (default: the pixel size)")
    parser.add_argument("--z-range", nargs=2, type=kinds.number, metavar=("Z0", "Z1"), help="depths, in nm")
    parser.add_argument("--format", help="file format, where the ending leaves it open")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    back = parser.add_argument_group("back to the slices")
    back.add_argument("--down", action="store_true", help="LABELS is a volume: write its labels for the stack's slices")
    back.add_argument(
        "--majority",
        type=kinds.positive_number,
        metavar="NM",
        help="with --down: take the most frequent label within this thickness, not the nearest",
    )
    score = parser.add_argument_group("how many slices must be labelled?")
    score.add_argument(
        "--score", action="store_true", help="hide labelled slices, and report how well they are recovered"
    )
    score.add_argument(
        "--every",
        nargs="+",
        type=kinds.count,
        metavar="N",
        help="with --score: keep every N-th labelled slice (default: 2)",
    )
    score.add_argument("--json", metavar="FILE", help="with --score: write all figures")


def add_points(commands: Commands) -> None:
    """``emgauss points``."""
    parser = command(
        commands,
        "points",
        "_labels:run_points_command",
        "convert positions on slices to positions in the volume, and back",
    )
    parser.add_argument("model", metavar="MODEL", help="model file written by 'emgauss fit'")
    parser.add_argument(
        "points",
        metavar="POINTS.csv",
        help="table with columns z, y, x (or axis-0, axis-1, axis-2, as napari saves points); other columns are kept",
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="table to write (.csv)")
    ways = ("slices", "nm", "grid")
    parser.add_argument("--from", dest="source", required=True, choices=ways, help="how positions are given")
    parser.add_argument("--to", dest="target", required=True, choices=ways, help="how to write them")
    parser.add_argument("--spacing", type=kinds.positive_number, metavar="NM", help="z step of the isotropic volume")
    parser.add_argument("--z-range", nargs=2, type=kinds.number, metavar=("Z0", "Z1"), help="its depths, in nm")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")


ALL: tuple[Callable[[Commands], None], ...] = (
    add_fit,
    add_plan,
    add_render,
    add_export,
    add_repair,
    add_labels,
    add_points,
    add_evaluate,
    add_score,
    add_report,
    add_presets,
    add_info,
    add_check,
    add_sample,
    add_doctor,
)
