"""The saved form of models and checkpoints: safetensors with a JSON header of ours in its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from napari_emgauss import _files as files
from napari_emgauss._errors import ExportError, ModelFileError

HEADER_KEY = "emgauss"
MODEL_FORMAT = "napari-emgauss-model"
MODEL_FORMAT_VERSION = 1


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Path:
    """Write tensors and header to a temporary file in the same folder, then rename it to ``path``.

    Raises
    ------
    ModelFileError
        The folder is missing or cannot be written to.
    """
    from safetensors.torch import save

    target = Path(path)
    data = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={HEADER_KEY: json.dumps(header)},
    )
    write_bytes(target, data)
    return target


def write_bytes(path: Path, data: bytes) -> None:
    """Write to a temporary file in the same folder, force it to disk, then rename it: whole or not at all.

    Raises
    ------
    ModelFileError
        The folder is missing, cannot be written to, or the disk is full.
    """
    try:
        files.write_bytes(path, data)
    except ExportError as error:
        raise ModelFileError(str(error)) from error


def read_tensors(
    path: str | os.PathLike[str], *, expected_format: str, newest_version: int, kind: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote.

    Parameters
    ----------
    expected_format, newest_version
        What the header must say, and the newest version this release can read.
    kind : str
        What to call the file in an error: "model", "checkpoint".

    Raises
    ------
    ModelFileError
        The file is missing, truncated, foreign, or of a newer version.
    """
    from safetensors import SafetensorError, safe_open

    source = Path(path)
    if not source.is_file():
        raise ModelFileError(f"There is no {kind} file {source}.")
    try:
        with safe_open(str(source), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if HEADER_KEY not in metadata:
                raise ModelFileError(f"{source} is a safetensors file, but not an EMGauss {kind}.")
            header = json.loads(metadata[HEADER_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ModelFileError(
            f"{source} is not an EMGauss {kind}, or was cut short while copying; make or copy it again."
        ) from error
    except (OSError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{source} cannot be read as an EMGauss {kind}: {error}.") from error
    if not isinstance(header, dict) or header.get("format") != expected_format:
        found = header.get("format") if isinstance(header, dict) else None
        raise ModelFileError(f"{source} is not an EMGauss {kind} but {found or 'something else'}.")
    version = header.get("format_version")
    if not isinstance(version, int) or version > newest_version:
        raise ModelFileError(
            f"{source} was written by a newer napari-emgauss ({kind} format {version}, this one reads up to "
            f"{newest_version}); update napari-emgauss."
        )
    return tensors, header
