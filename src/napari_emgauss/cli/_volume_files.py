"""A small volume in memory written as OME-TIFF."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_emgauss._errors import ExportError


def write_volume(path: Path, values: NDArray[Any], voxel_size_nm: tuple[float, float, float]) -> None:
    """Write ``(z, y, x)`` grey values with their voxel size, whole or not at all.

    Raises
    ------
    ExportError
        The suffix is not that of a TIFF, or the file cannot be written.
    """
    import tifffile

    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ExportError(f"'{path}' should end in .ome.tif or .tif.")
    z, y, x = voxel_size_nm
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        tifffile.imwrite(
            temporary,
            values,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            metadata={
                "axes": "ZYX",
                "PhysicalSizeZ": z,
                "PhysicalSizeZUnit": "nm",
                "PhysicalSizeY": y,
                "PhysicalSizeYUnit": "nm",
                "PhysicalSizeX": x,
                "PhysicalSizeXUnit": "nm",
            },
        )
        temporary.replace(path)
    except OSError as error:
        raise ExportError(f"'{path}' could not be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
