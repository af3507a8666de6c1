"""From parsed arguments to the objects of the library: stacks, fit settings, output paths."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_emgauss._errors import ConfigError, UnknownVoxelSizeError

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig
    from napari_emgauss.stack import Stack

# Stands in where nothing is made of lengths: slices further apart than pixels.
UNKNOWN_SIZE = (2.0, 1.0, 1.0)
TABLE_SUFFIXES = (".ome.tiff", ".ome.tif", ".ome.zarr")


class _SteadyStderr:
    """stderr as it is at the time, whose loss (a closed terminal, a pipe's reader gone) ends no work."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


STEADY_STDERR: Any = _SteadyStderr()


def say(text: str) -> None:
    """A line for people, on stderr: stdout is for results."""
    print(text, file=STEADY_STDERR, flush=True)


def stem(path: Path) -> str:
    """File name without its suffix, double ones such as ``.ome.tif`` included."""
    from napari_emgauss.stack import address_of

    name = (address_of(path) or path).name
    for suffix in TABLE_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def tell_notes(stack: Stack) -> None:
    """What had to be assumed of a file, or was left out of it: nobody should find that out from the result."""
    say_notes(stack.metadata.get("notes", ()))


def say_notes(notes: Iterable[str]) -> None:
    """The same of any file."""
    for note in notes:
        say(f"Note: {note}.")


def stack_of_unknown_size(
    arguments: argparse.Namespace, path: str, *, notes: bool = True, **more: Any
) -> tuple[Stack, UnknownVoxelSizeError | None]:
    """The stack, and why its voxel size is not known: lengths then mean nothing, and all else is as it is."""
    try:
        return stack_from(arguments, path, notes=notes, **more), None
    except UnknownVoxelSizeError as error:
        if arguments.z_range is not None:  # is told in nm
            raise
        without = argparse.Namespace(**{**vars(arguments), "voxel_size": UNKNOWN_SIZE})
        stack = stack_from(without, path, notes=notes, **more)
        stack.metadata["voxel_size_source"] = "unknown"
        return stack, error


def stack_from(arguments: argparse.Namespace, path: str, *, notes: bool = True, **more: Any) -> Stack:
    """The stack that the command line names, with its overrides and corrections.

    What its reader had to assume is told on stderr unless ``notes`` is false.
    """
    from napari_emgauss import stack as stacks

    options: dict[str, Any] = dict(more)
    if arguments.voxel_size is not None:
        options["voxel_size_nm"] = tuple(arguments.voxel_size)
    if arguments.z_positions is not None:
        options["z_positions_nm"] = stacks.read_z_positions(arguments.z_positions)
    if arguments.z_range is not None:
        options["z_range_nm"] = tuple(arguments.z_range)
    for name in ("skip", "dataset", "channel", "time", "region"):
        if getattr(arguments, name) is not None:
            options[name] = getattr(arguments, name)
    if arguments.slice_distance is not None:
        if arguments.z_positions is not None:
            raise ConfigError("Depths are given twice: use either --z-positions or --slice-distance.")
        options["z_positions_nm"] = _depths_of(arguments, path)
    stack = stacks.read_stack(path, **options)
    if notes:
        tell_notes(stack)
    corrections = stacks.Corrections(
        damage=arguments.damage_mask,
        straighten=arguments.straighten,
        even_out=arguments.even_out,
        denoise=arguments.denoise,
    )
    return corrections.apply(stack)


def _depths_of(arguments: argparse.Namespace, path: str) -> Any:
    """Depths of all slices of a file from ``--slice-distance``."""
    from napari_emgauss.stack import Selection, open_file, z_from_thickness

    (place, nominal), *others = arguments.slice_distance
    if place is not None or any(index is None for index, _ in others):
        raise ConfigError("--slice-distance takes one distance in nm, then SLICE=NM for those that differ: 40 12=80.")
    channel = arguments.channel if isinstance(arguments.channel, int) else 0
    opened = open_file(Path(path), Selection(arguments.dataset, channel, arguments.time))
    # Where files are missing, the next one is so many distances away.
    numbers = opened.slice_numbers or []
    far = {k: nominal * (b - a) for k, (a, b) in enumerate(pairwise(numbers)) if b - a > 1}
    own = {index: size for index, size in others if index is not None}
    return z_from_thickness(int(opened.slices.shape[0]), nominal, far | own)


def fit_config(arguments: argparse.Namespace, **more: Any) -> FitConfig:
    """The preset with the command line's settings on top.

    ``more`` holds settings given by options of their own; None means not given.
    """
    from napari_emgauss.fitting import preset

    overrides = dict(arguments.settings)
    given = {"seed": arguments.seed, "device": arguments.device, "iterations_scale": arguments.iterations_scale, **more}
    overrides.update({key: value for key, value in given.items() if value is not None})
    return preset(arguments.preset or arguments.default_preset, **overrides)


def asked_for(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings that ``emgauss fit`` has options of their own for."""
    return {name: getattr(arguments, name, None) for name in ("prior", "sampling", "slice_shifts")}


def has_fit_options(arguments: argparse.Namespace) -> bool:
    """Whether the command line says anything about how to fit."""
    given = (
        arguments.preset,
        arguments.seed,
        arguments.device,
        arguments.iterations_scale,
        getattr(arguments, "slice_shifts", None),
        # The same name means something else where a volume is thinned out.
        arguments.sampling if hasattr(arguments, "slice_shifts") else None,
    )
    return bool(arguments.settings) or any(value is not None for value in given)


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
