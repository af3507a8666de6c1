"""Which files of a Neuroglancer volume are those that an export wrote."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from napari_emgauss._owned_folder import OwnedFolder

from ._zarr_files import WRITTEN_BY, read_metadata

_TOP = ("info", "provenance")
_BLOCK = re.compile(r"\d+-\d+_\d+-\d+_\d+-\d+")


def owned_precomputed(folder: Path) -> OwnedFolder | None:
    """What is ours in a Neuroglancer volume that an export wrote; None if none did.

    ``provenance`` says who wrote it, ``info`` names the folders of the scales. Nothing else is ours: no meshes that
    were added, no text beside the data.
    """
    steps = read_metadata(folder / "provenance").get("processing")
    ours = isinstance(steps, list) and any(
        isinstance(step, dict) and step.get("reconstructed_by") == WRITTEN_BY for step in steps
    )
    scales = read_metadata(folder / "info").get("scales")
    if not ours or not isinstance(scales, list):
        return None
    keys = {scale.get("key") for scale in scales if isinstance(scale, dict)}

    def owns(path: PurePosixPath) -> bool:
        if len(path.parts) == 1:
            return path.name in _TOP
        return len(path.parts) == 2 and path.parts[0] in keys and _BLOCK.fullmatch(path.name) is not None

    return OwnedFolder(folder, owns, lambda path: path.name in _TOP)
