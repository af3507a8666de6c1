"""Sub-commands and their options, without what they do: this module imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from napari_emgauss.cli import _arguments as kinds
from napari_emgauss.evaluation import SCORED, methods_help
from napari_emgauss.priors import prior_help
from napari_emgauss.stack import dataset_help
from napari_emgauss.volume import LOOK_ROWS, LOOKS, output_formats

Commands = Any  # argparse's _SubParsersAction, which is private

DEVICE_HELP = "auto (default), cpu, cuda or mps; auto says which it chose, and why"

LPIPS_HELP = "also measure LPIPS, with these weights: the state dict of lpips.LPIPS(net='alex'), or that as safetensors"


def _command(commands: Commands, name: str, handler: str, summary: str, **options: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", **options
    )
    parser.set_defaults(handler=handler)
    return parser


def _add_stack_options(parser: argparse.ArgumentParser) -> None:
    """How to read a stack: the same for every command that takes one."""
    group = parser.add_argument_group("the stack")
    group.add_argument(
        "--voxel-size",
        nargs=3,
        type=kinds.positive_number,
        metavar=("Z", "Y", "X"),
        help="voxel size in nm; overrides what the file says",
    )
    group.add_argument("--z-positions", metavar="FILE", help="text file with the depth of every slice in nm, in order")
    group.add_argument(
        "--slice-distance",
        nargs="+",
        type=kinds.distance_between_slices,
        metavar="NM",
        help="distance between slices in nm, then SLICE=NM for each that differs, such as 40 12=80 57=120",
    )
    group.add_argument("--skip", metavar="LIST", help="slices to leave out, such as 12,57-59; see 'emgauss check'")
    group.add_argument("--dataset", help=dataset_help())
    group.add_argument(
        "--channel",
        type=kinds.channels,
        metavar="LIST",
        help="which channels, counted from 0, such as 1 or 0,2 (default: all, up to 4)",
    )
    group.add_argument("--time", type=int, metavar="N", help="which time point, counted from 0")
    group.add_argument(
        "--region",
        nargs=4,
        type=int,
        metavar=("Y0", "Y1", "X0", "X1"),
        help="only this rectangle of every slice, in pixels",
    )
    group.add_argument(
        "--z-range",
        nargs=2,
        type=kinds.number,
        metavar=("Z0", "Z1"),
        help="only the slices from Z0 to Z1, in nm; they keep their depths and numbers",
    )
    group = parser.add_argument_group("corrections, made before anything else")
    group.add_argument(
        "--damage-mask",
        metavar="FILE",
        help="pixels not to learn from: an image of the stack's shape, or drawn shapes as text or napari CSV",
    )
    group.add_argument("--straighten", action="store_true", help="move misaligned slices back into place")
    group.add_argument(
        "--even-out",
        nargs="?",
        const="linear",
        choices=("linear", "histogram", "clahe"),
        help="even out brightness and contrast between slices; without a method, linear",
    )
    group.add_argument(
        "--denoise",
        nargs="?",
        const="auto",
        choices=("auto", "gaussian", "tv", "nlm"),
        help="denoise the slices; the strength is estimated from the noise",
    )


def _add_fit_options(parser: argparse.ArgumentParser, *, preset: str = "default") -> None:
    """How to fit: the same for fit, evaluate and score."""
    group = parser.add_argument_group("the fit")
    group.add_argument("--preset", help=f"named settings (default: {preset}); see 'emgauss presets'")
    parser.set_defaults(default_preset=preset)
    group.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        type=kinds.setting,
        help="change one setting of the preset; may be given several times",
    )
    group.add_argument(
        "--iterations-scale", type=kinds.positive_number, metavar="S", help="scale the length of every stage"
    )
    group.add_argument("--seed", type=int, help="seed of all random choices; the same seed gives the same result")
    group.add_argument("--device", help=DEVICE_HELP)


def add_fit(commands: Commands) -> None:
    """``emgauss fit``."""
    parser = _command(commands, "fit", "_fit:run_fit_command", "fit a model to an anisotropic stack")
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
    _add_stack_options(parser)
    _add_fit_options(parser)
    group = parser.add_argument_group("what the slices are")
    group.add_argument(
        "--sampling",
        choices=("point", "slab"),
        help="what a slice is: tissue at one depth (default), or the mean over its thickness",
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
    parser = _command(
        commands, "plan", "_tiles:run_plan_command", "show the tiles, memory, disk space and time that a fit needs"
    )
    parser.add_argument("stack", metavar="STACK", help="stack to fit")
    parser.add_argument("--prior", help="what makes the pseudo-labels, as for 'emgauss fit'")
    parser.add_argument(
        "--measure", action="store_true", help="measure the speed of this machine first (takes a few seconds)"
    )
    parser.add_argument("--json", action="store_true", help="print the plan and the estimate as JSON")
    _add_stack_options(parser)
    _add_fit_options(parser)
    _add_tile_options(parser)


def add_render(commands: Commands) -> None:
    """``emgauss render``."""
    parser = _command(commands, "render", "_render:run_render_command", "render slices of a model at any depth")
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
    parser = _command(commands, "export", "_render:run_export_command", "write the isotropic volume of a model")
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
    parser.add_argument(
        "--confidence",
        metavar="FILE",
        help="also write to this file how far the prior trusts what it inferred, from 0 to 255 on the same grid",
    )
    parser.add_argument(
        "--error",
        metavar="FILE",
        help="also write to this file the error bars: sigma of every voxel in grey values, as 32-bit floats on the "
        "same grid",
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def add_repair(commands: Commands) -> None:
    """``emgauss repair``."""
    endings = ", ".join(dict.fromkeys(row.ending for row in output_formats(entry_points=False)))
    parser = _command(
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
    _add_stack_options(parser)
    _add_fit_options(parser)


def add_labels(commands: Commands) -> None:
    """``emgauss labels``."""
    parser = _command(
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
    parser = _command(
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


def add_evaluate(commands: Commands) -> None:
    """``emgauss evaluate``."""
    parser = _command(
        commands,
        "evaluate",
        "_evaluate:run_evaluate_command",
        "score methods on an isotropic volume whose slices are thinned out",
    )
    parser.add_argument("volume", metavar="VOLUME", help="isotropic volume, taken as the truth")
    parser.add_argument("--factor", type=kinds.count, required=True, help="keep every F-th slice", metavar="F")
    parser.add_argument("--crop", nargs=3, type=kinds.count, metavar=("Z", "Y", "X"), help="first Z, Y, X voxels only")
    parser.add_argument("--axis", type=int, choices=(0, 1, 2), default=0, help="axis to thin out (default: 0, z)")
    parser.add_argument(
        "--methods",
        type=kinds.names,
        metavar="LIST",
        help=methods_help("the classical ones and emgauss"),
    )
    parser.add_argument(
        "--sampling",
        choices=("point", "slab"),
        default="point",
        help="keep slices as they are, or average over each gap",
    )
    parser.add_argument(
        "--compare",
        action="append",
        default=[],
        type=kinds.named_file,
        metavar="NAME=FILE",
        help="also score this reconstruction of the whole VOLUME made elsewhere; may be given several times",
    )
    parser.add_argument("--json", metavar="FILE", help="write all scores")
    parser.add_argument("--figure", metavar="FILE", help="write planes and error maps side by side (.png, .pdf)")
    parser.add_argument("--masks", metavar="MASK", help="labels of structures in VOLUME: report how well they survive")
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="labels of cells in VOLUME, one number each: report how well membranes still separate them",
    )
    parser.add_argument("--sam2-weights", metavar="FILE", help="with --masks: use SAM2 with these weights")
    parser.add_argument("--lpips-weights", metavar="FILE", help=LPIPS_HELP)
    parser.add_argument("--force", action="store_true", help="overwrite the files named")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument(
        "--voxel-size", nargs=3, type=kinds.positive_number, metavar=("Z", "Y", "X"), help="voxel size of VOLUME in nm"
    )
    _add_fit_options(parser)


def add_score(commands: Commands) -> None:
    """``emgauss score``."""
    parser = _command(
        commands, "score", "_evaluate:run_score_command", "score methods on a stack itself by hiding every second slice"
    )
    parser.add_argument("stack", metavar="STACK", help="stack to score")
    parser.add_argument("--methods", type=kinds.names, metavar="LIST", help=methods_help(", ".join(SCORED)))
    parser.add_argument("--lpips-weights", metavar="FILE", help=LPIPS_HELP)
    parser.add_argument("--json", metavar="FILE", help="write all scores")
    parser.add_argument("--force", action="store_true", help="overwrite the file named")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")
    _add_stack_options(parser)
    _add_fit_options(parser, preset="fast")


def add_report(commands: Commands) -> None:
    """``emgauss report``."""
    parser = _command(
        commands, "report", "_report:run_report_command", "write a result as one HTML page that loads nothing else"
    )
    parser.add_argument("model", metavar="MODEL", help="model file written by 'emgauss fit'")
    parser.add_argument("-o", "--output", metavar="FILE", help="page to write (default: MODEL.html)")
    parser.add_argument(
        "--score",
        metavar="FILE",
        action="append",
        default=[],
        help="a score or an evaluation written by 'emgauss score --json' or 'emgauss evaluate --json'; one of each "
        "may be given (default: every second slice is hidden and scored first)",
    )
    parser.add_argument("--no-score", action="store_true", help="write a report without scores, which takes seconds")
    parser.add_argument(
        "--stack",
        metavar="FILE",
        help="the stack that the model was fitted to (default: the file it was read from)",
    )
    parser.add_argument("--title", metavar="TEXT", help="title of the page (default: the stack's name)")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def add_presets(commands: Commands) -> None:
    """``emgauss presets``."""
    parser = _command(commands, "presets", "_info:run_presets_command", "list presets, or the settings of one")
    parser.add_argument("name", nargs="?", metavar="PRESET", help="show every setting of this one")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def add_info(commands: Commands) -> None:
    """``emgauss info``."""
    parser = _command(commands, "info", "_info:run_info_command", "show what is in a model or a stack")
    parser.add_argument("path", metavar="FILE", help="model file or stack")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    _add_stack_options(parser)


def add_check(commands: Commands) -> None:
    """``emgauss check``."""
    parser = _command(commands, "check", "_check:run_check_command", "look for damaged and misplaced slices")
    parser.add_argument("stack", metavar="STACK", help="stack to check")
    parser.add_argument("--thickness", action="store_true", help="also estimate the distance between slices")
    parser.add_argument("--write-z", metavar="FILE", help="write the estimated depths, for --z-positions")
    parser.add_argument("--figure", metavar="FILE", help="plot what was found, slice by slice (.png, .pdf, .svg)")
    parser.add_argument("--force", action="store_true", help="overwrite the files named")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    _add_stack_options(parser)


def add_sample(commands: Commands) -> None:
    """``emgauss sample``."""
    parser = _command(commands, "sample", "_info:run_sample_command", "write the generated sample stack")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="anisotropic stack to write (.ome.tif)")
    parser.add_argument("--truth", metavar="FILE", help="also write the isotropic volume that it was taken from")
    parser.add_argument("--force", action="store_true", help="overwrite")


def add_doctor(commands: Commands) -> None:
    """``emgauss doctor``."""
    parser = _command(commands, "doctor", "_doctor:run_doctor_command", "check this installation and give advice")
    parser.add_argument("--json", action="store_true", help="print as JSON")


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
