"""The sub-commands that look at what there is: settings, files, slices, the sample, this installation."""

from __future__ import annotations

from napari_emgauss.cli._options import Commands, add_stack_options, command


def add_presets(commands: Commands) -> None:
    """``emgauss presets``."""
    parser = command(commands, "presets", "_info:run_presets_command", "list presets, or the settings of one")
    parser.add_argument("name", nargs="?", metavar="PRESET", help="show every setting of this one")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def add_info(commands: Commands) -> None:
    """``emgauss info``."""
    parser = command(commands, "info", "_info:run_info_command", "show what is in a model or a stack")
    parser.add_argument("path", metavar="FILE", help="model file or stack")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    add_stack_options(parser)


def add_check(commands: Commands) -> None:
    """``emgauss check``."""
    parser = command(commands, "check", "_check:run_check_command", "look for damaged and misplaced slices")
    parser.add_argument("stack", metavar="STACK", help="stack to check")
    parser.add_argument("--thickness", action="store_true", help="also estimate the distance between slices")
    parser.add_argument("--write-z", metavar="FILE", help="write the estimated depths, for --z-positions")
    parser.add_argument("--figure", metavar="FILE", help="plot what was found, slice by slice (.png, .pdf, .svg)")
    parser.add_argument("--force", action="store_true", help="overwrite the files named")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    add_stack_options(parser)


def add_sample(commands: Commands) -> None:
    """``emgauss sample``."""
    parser = command(commands, "sample", "_info:run_sample_command", "write the generated sample stack")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="anisotropic stack to write (.ome.tif)")
    parser.add_argument("--truth", metavar="FILE", help="also write the isotropic volume that it was taken from")
    parser.add_argument("--force", action="store_true", help="overwrite")


def add_doctor(commands: Commands) -> None:
    """``emgauss doctor``."""
    parser = command(commands, "doctor", "_doctor:run_doctor_command", "check this installation and give advice")
    parser.add_argument("--json", action="store_true", help="print as JSON")
