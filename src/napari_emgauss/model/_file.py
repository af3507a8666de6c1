"""The saved form of models and checkpoints: safetensors with a JSON header of ours in its metadata."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_emgauss import _files as files
from napari_emgauss._errors import ExportError, ModelFileError

HEADER_KEY = "emgauss"
MODEL_FORMAT = "napari-emgauss-model"
MODEL_FORMAT_VERSION = 1

LONGEST_TABLE = 64 << 20
"""Bytes of a file's table of arrays: some hundred thousand of them."""
LONGEST_HEADER = 16 << 20
"""Characters of our own header: depths of some hundred thousand slices. JSON takes 20 times as much once it is read."""


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Path:
    """Write tensors and header to a temporary file in the same folder, then rename it to ``path``.

    Raises
    ------
    ModelFileError
        The folder is missing or cannot be written to.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = Path(path)
    try:
        with files.whole(target) as part:
            mode = part.stat().st_mode
            try:
                save_file(
                    {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                    part,
                    metadata={HEADER_KEY: json.dumps(header)},
                )
            except SafetensorError as error:
                raise _error_of_system(error) from error
            # safetensors puts a file of its own there, which nobody else may read.
            part.chmod(mode)
    except ExportError as error:
        raise ModelFileError(str(error)) from error
    return target


def _error_of_system(error: Exception) -> OSError:
    """What the system said, which safetensors tells as text: "... No space left on device (os error 28)"."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(str(error)) if number is None else OSError(int(number[1]), os.strerror(int(number[1])))


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


def stored_format(path: str | os.PathLike[str]) -> str | None:
    """What a file of ours says it is ("napari-emgauss-model", ...), read without its tensors; None for any other."""
    from safetensors import safe_open

    try:
        if not Path(path).is_file():
            return None
        with safe_open(str(path), framework="pt", device="cpu") as file:
            header = json.loads((file.metadata() or {})[HEADER_KEY])
            return str(header["format"])
    except Exception:  # safetensors raises errors of many kinds over what is none of its files
        return None


def holds_tensor(path: str | os.PathLike[str], name: str) -> bool:
    """Whether a safetensors file has a tensor of this name; only its table is read, and a file that is none has not."""
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return name in set(file.keys())
    except Exception:  # as in `stored_format`
        return False


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
        The file is missing, truncated, foreign, of a newer version, or holds numbers that are not finite.
    """
    from safetensors import SafetensorError, safe_open

    source = Path(path)
    try:
        if not source.is_file():
            raise ModelFileError(f"There is no {kind} file {source}.")
        _check_table(source, kind)
        with safe_open(str(source), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if HEADER_KEY not in metadata:
                raise ModelFileError(f"{source} is a safetensors file, but not an EMGauss {kind}.")
            header = parse_json(metadata[HEADER_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ModelFileError(
            f"{source} is not an EMGauss {kind}, or it was cut short while copying: make or copy it again."
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{source} cannot be read as an EMGauss {kind}: {_reason(error)}.") from error
    if header.get("format") != expected_format:
        found = header.get("format")
        raise ModelFileError(f"{source} is not an EMGauss {kind} but {str(found or 'something else')[:60]!r}.")
    version = header.get("format_version")
    if not isinstance(version, int) or version > newest_version:
        raise ModelFileError(
            f"{source} was written by a newer napari-emgauss ({kind} format {str(version)[:20]}, this one reads up to "
            f"{newest_version}); update napari-emgauss."
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelFileError(f"{source} is a damaged EMGauss {kind}: its {name[:80]} holds NaN or infinity.")
    return tensors, header


def parse_json(text: str, longest: int = LONGEST_HEADER) -> dict[str, Any]:
    """What a text of JSON from a file says; nothing where it is no table of names and values.

    Parameters
    ----------
    text : str
    longest : int
        Characters that it may have.

    Raises
    ------
    ValueError
        It is no JSON, is longer than any of ours, nested too deeply, or has numbers of thousands of digits.
    """
    # Text grows most in memory where it consists of little but brackets.
    if len(text) > longest or text.count("[") + text.count("{") > 10_000 + len(text) // 8:
        raise ValueError("its header is longer than any that was ever written")
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    return values if isinstance(values, dict) else {}


def _check_table(path: Path, kind: str) -> None:
    """Refuse a table of arrays that is longer than any of ours before anybody reads it."""
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) == 8 and struct.unpack("<Q", start)[0] > LONGEST_TABLE:
        raise ModelFileError(f"{path} is not an EMGauss {kind}, or it was damaged: make or copy it again.")


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason.splitlines()[0][:200].rstrip(".") if reason else type(error).__name__
