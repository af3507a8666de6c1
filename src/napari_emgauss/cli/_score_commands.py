"""The sub-commands that say how good a result is, and their options."""

from __future__ import annotations

from napari_emgauss.cli import _arguments as kinds
from napari_emgauss.cli._options import DEVICE_HELP, Commands, add_fit_options, add_stack_options, command
from napari_emgauss.evaluation import SCORED, methods_help

LPIPS_HELP = "also measure LPIPS, with these weights: the state dict of lpips.LPIPS(net='alex'), or that as safetensors"


def add_evaluate(commands: Commands) -> None:
    """``emgauss evaluate``."""
    parser = command(
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
    add_fit_options(parser)


def add_score(commands: Commands) -> None:
    """``emgauss score``."""
    parser = command(
        commands, "score", "_evaluate:run_score_command", "score methods on a stack itself by hiding every second slice"
    )
    parser.add_argument("stack", metavar="STACK", help="stack to score")
    parser.add_argument("--methods", type=kinds.names, metavar="LIST", help=methods_help(", ".join(SCORED)))
    parser.add_argument("--lpips-weights", metavar="FILE", help=LPIPS_HELP)
    parser.add_argument("--json", metavar="FILE", help="write all scores")
    parser.add_argument("--force", action="store_true", help="overwrite the file named")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")
    add_stack_options(parser)
    add_fit_options(parser, preset="fast")


def add_report(commands: Commands) -> None:
    """``emgauss report``."""
    parser = command(
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
