"""What a command may write: settled before any work, for every command in one way.

An output is never one of the command's inputs, under whatever name; it is another one than the command's other outputs;
it exists only where ``--force`` was given; and it can really be written.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_emgauss._errors import ConfigError
from napari_emgauss._files import check_writable
from napari_emgauss._paths import is_inside, real_target, same_file

if TYPE_CHECKING:
    from napari_emgauss.volume import VolumeModel

# Attributes of parsed arguments that name files, and what the user calls them.
_INPUTS = {
    "stack": "the stack",
    "volume": "the volume",
    "model": "the model",
    "masks": "--masks",
    "sam2_weights": "--sam2-weights",
    "lpips_weights": "--lpips-weights",
    "z_positions": "--z-positions",
    "damage_mask": "--damage-mask",
    "resume": "--resume",
    "compare": "--compare",
    "score": "--score",
    "labels": "the labels",
    "points": "the table of points",
}
_OUTPUTS = {
    "output": "--output",
    "json": "--json",
    "figure": "--figure",
    "confidence": "--confidence",
    "error": "--error",
    "truth": "--truth",
    "write_z": "--write-z",
    "mask": "--mask",
}
# What makes a folder one file for its user: all in it is part of it.
_CONTAINER_MARKS = (".zgroup", ".zattrs", ".zarray", "zarr.json", "attributes.json", "index.json")
_LARGEST_OME_HEADER = 16 << 20


def output_path(
    arguments: argparse.Namespace, name: str, *, path: str | Path | None = None, folder: bool = False, nbytes: int = 0
) -> Path:
    """The path of an output of the command, after everything that can be checked before the work was.

    Parameters
    ----------
    arguments : argparse.Namespace
        All of the command line: its inputs, its other outputs and ``force``.
    name : str
        Which of its attributes is the output.
    path : path, optional
        Where it goes, if the command line does not say so.
    folder : bool
        Whether it becomes a folder.
    nbytes : int
        Space that it needs, as far as known.

    Raises
    ------
    ConfigError
        It is an input, or another output.
    ExportError
        It exists, or cannot be written.
    """
    given = getattr(arguments, name) if path is None else path
    real_target(given)  # an empty name would be the working folder by now
    target = Path(given)
    refuse_inputs(arguments, target)
    for other, option in _OUTPUTS.items():
        another = getattr(arguments, other, None)
        if other != name and isinstance(another, str) and same_file(another, target):
            raise ConfigError(
                f"'{target}' would be written twice, by {_OUTPUTS[name]} and {option}: choose two different names."
            )
    check_writable(target, overwrite=arguments.force, folder=folder, nbytes=nbytes)
    return target


def figure_path(arguments: argparse.Namespace) -> Path:
    """The path of ``--figure``, for which there is what draws it.

    Raises
    ------
    ConfigError, ExportError
        As :func:`output_path`; matplotlib is missing, or cannot write such a file.
    """
    from napari_emgauss.evaluation import check_figure

    check_figure(arguments.figure)
    return output_path(arguments, "figure")


def refuse_inputs(arguments: argparse.Namespace, target: Path) -> None:
    """Refuse to write over anything that the command reads, ``--force`` or not.

    Raises
    ------
    ConfigError
        ``target`` is an input, a part of one, or a folder around one.
    """
    _refuse(target, _inputs(arguments))


def refuse_source(model: VolumeModel, target: Path) -> None:
    """Refuse to write over the stack that a model was fitted to, as far as it remembers.

    Raises
    ------
    ConfigError
        ``target`` is the stack, or a part of it.
    """
    from napari_emgauss.volume import Provenance

    source = Provenance.from_json(model.provenance).source
    if isinstance(source, str) and source:
        _refuse(target, [("the stack that the model was fitted to", Path(source))])


def _refuse(target: Path, inputs: Iterable[tuple[str, Path]]) -> None:
    for what, given in inputs:
        if not os.path.lexists(given) and not glob.has_magic(str(given)):
            continue
        if any(same_file(target, one) for one in files_of(given)):
            raise ConfigError(f"'{target}' is {what}, which is never overwritten: choose another name.")
        if os.path.isdir(given) and is_inside(target, given) and (_is_container(given) or _is_image(target)):
            raise ConfigError(f"'{target}' lies in {what} ('{given}'), which is never changed: choose another name.")
        if os.path.isdir(target) and is_inside(given, target):
            raise ConfigError(
                f"'{target}' is the folder that holds {what}, which is never changed: choose another name."
            )


def files_of(path: Path) -> Iterator[Path]:
    """The files that a path stands for: itself, what a pattern matches, the other files of an OME-TIFF."""
    yield path
    if glob.has_magic(path.name) and not os.path.lexists(path):
        yield from path.parent.glob(path.name)
    elif os.path.isfile(path):
        for name in _other_ome_files(path):
            yield path.parent / name


def _inputs(arguments: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    for name, what in _INPUTS.items():
        given = getattr(arguments, name, None)
        if isinstance(given, str) and given:
            yield what, Path(given)
        elif name == "score" and isinstance(given, list):
            yield from ((what, Path(path)) for path in given)
        elif name == "compare":
            yield from ((what, Path(path)) for _, path in given or ())


def _other_ome_files(path: Path) -> list[str]:
    """Names of files that an OME-TIFF, or its companion, says it consists of."""
    if path.name.lower().endswith(".companion.ome"):
        with path.open("rb") as file:
            text = file.read(_LARGEST_OME_HEADER).decode("utf-8", "replace")
    elif path.suffix.lower() in (".tif", ".tiff"):
        import tifffile

        try:
            with tifffile.TiffFile(path) as tif:
                text = (tif.ome_metadata or "")[:_LARGEST_OME_HEADER]
        except Exception:  # a damaged file is told of when it is read
            return []
    else:
        return []
    return sorted(set(re.findall(r'FileName="([^"]+)"', text)))


def _is_container(folder: Path) -> bool:
    return folder.suffix.lower() in (".zarr", ".n5") or any((folder / mark).exists() for mark in _CONTAINER_MARKS)


def _is_image(path: Path) -> bool:
    from napari_emgauss.stack import IMAGE_SUFFIXES

    return path.suffix.lower() in IMAGE_SUFFIXES
