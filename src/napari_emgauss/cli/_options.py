"""What several commands share: how a sub-command is added, and the options of stacks and fits."""

from __future__ import annotations

import argparse
from typing import Any

from napari_emgauss.cli import _arguments as kinds
from napari_emgauss.stack import dataset_help

Commands = Any  # argparse's _SubParsersAction, which is private

DEVICE_HELP = "auto (default), cpu, cuda or mps; auto says which it chose, and why"


def command(commands: Commands, name: str, handler: str, summary: str, **options: Any) -> argparse.ArgumentParser:
    """A sub-command that ``module:function`` carries out."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", **options
    )
    parser.set_defaults(handler=handler)
    return parser


def add_stack_options(parser: argparse.ArgumentParser) -> None:
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


def add_fit_options(parser: argparse.ArgumentParser, *, preset: str = "default") -> None:
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
