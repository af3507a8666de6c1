"""From parsed arguments to the objects of the library: stacks, fit settings, output paths."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, ExportError, StackFileError

if TYPE_CHECKING:
    from napari_emgauss.fit import FitConfig
    from napari_emgauss.stack import Stack

TABLE_SUFFIXES = (".ome.tiff", ".ome.tif", ".ome.zarr")


def say(text: str) -> None:
    """A line for people, on stderr: stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def stem(path: Path) -> str:
    """File name without its suffix, double ones such as ``.ome.tif`` included."""
    for suffix in TABLE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def stack_from(arguments: argparse.Namespace, path: str, **more: Any) -> Stack:
    """The stack that the command line names, with its overrides of voxel size, depths and slices."""
    from napari_emgauss.stack import read_stack

    options: dict[str, Any] = dict(more)
    if arguments.voxel_size is not None:
        options["voxel_size_nm"] = tuple(arguments.voxel_size)
    if arguments.z_positions is not None:
        options["z_positions_nm"] = read_depths(Path(arguments.z_positions))
    if arguments.skip is not None:
        options["skip"] = arguments.skip
    return read_stack(path, **options)


def read_depths(path: Path) -> NDArray[np.float64]:
    """Depths in nm from a text file: numbers apart by blanks, commas or line ends; ``#`` starts a comment."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StackFileError(f"The z positions cannot be read from '{path}': {_reason(error)}.") from error
    words = [word for line in text.splitlines() for word in line.partition("#")[0].replace(",", " ").split()]
    try:
        return np.array([float(word) for word in words], dtype=np.float64)
    except ValueError:
        bad = next(word for word in words if not _is_number(word))
        raise StackFileError(f"'{path}' should hold one depth in nm per slice, but '{bad}' is not a number.") from None


def fit_config(arguments: argparse.Namespace, **more: Any) -> FitConfig:
    """The preset with the command line's settings on top.

    ``more`` holds settings given by options of their own; None means not given.
    """
    from napari_emgauss.fit import preset

    overrides = dict(arguments.settings)
    given = {"seed": arguments.seed, "device": arguments.device, "iterations_scale": arguments.iterations_scale, **more}
    overrides.update({key: value for key, value in given.items() if value is not None})
    return preset(arguments.preset or arguments.default_preset, **overrides)


def has_fit_options(arguments: argparse.Namespace) -> bool:
    """Whether the command line says anything about how to fit."""
    given = (arguments.preset, arguments.seed, arguments.device, arguments.iterations_scale)
    return bool(arguments.settings) or any(value is not None for value in given)


def new_file(path: str | Path, *, force: bool) -> Path:
    """The path of a file about to be written: refuses one that exists, and a folder that does not, before any work."""
    target = Path(path)
    if target.exists() and not force:
        raise ExportError(f"'{target}' exists already; give another name, or --force to overwrite it.")
    if not target.parent.is_dir():
        raise ExportError(f"The folder '{target.parent}' does not exist; make it first or give another name.")
    return target


def device_line(device: str) -> str:
    """Which backend and device a command takes, and why: one line."""
    from napari_emgauss.render import choose_backend

    choice = choose_backend(device)
    return f"Renders with {choice.backend} on {choice.device} ({choice.reason})"


def known_name(name: str, names: tuple[str, ...], what: str) -> str:
    """``name`` if it is one of ``names``; otherwise an error that offers the nearest."""
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ConfigError(f"There is no {what} '{name}'{hint} Choose from {', '.join(names)}.")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:].rstrip(".")
