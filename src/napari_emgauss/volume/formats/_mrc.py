"""Volumes as MRC2014, the file format of electron tomography."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.volume._plan import ExportPlan

_ANGSTROM_PER_NM = 10.0


def write_mrc(plan: ExportPlan, planes: Iterator[NDArray[Any]], target: Path) -> None:
    """MRC: voxel size and origin in Angstrom; statistics in the header as the standard asks."""
    import mrcfile
    from mrcfile.utils import mode_from_dtype

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the temporary name ends otherwise, and statistics come later
        with mrcfile.new_mmap(target, plan.shape, mode_from_dtype(plan.dtype), overwrite=True) as mrc:
            mrc.voxel_size = tuple(size * _ANGSTROM_PER_NM for size in reversed(plan.voxel_size_nm))
            mrc.header.origin.z = plan.depths_nm[0] * _ANGSTROM_PER_NM
            mrc.set_volume()
            mrc.add_label("Reconstructed by napari-emgauss: slices between the observed ones are inferred")
            header = mrc.header.copy()
    count, total, squares = 0, 0.0, 0.0
    low, high = np.inf, -np.inf
    # Written as a stream, not through the memory map: on a full disk a map kills the process.
    with target.open("r+b") as file:
        file.seek(header.nbytes)
        for plane in planes:
            file.write(plane.astype(plane.dtype.newbyteorder("<"), copy=False).tobytes())
            wide = plane.astype(np.float64)
            count += wide.size
            total += float(wide.sum())
            squares += float(np.square(wide).sum())
            low, high = min(low, float(wide.min())), max(high, float(wide.max()))
        header["dmin"], header["dmax"], header["dmean"] = low, high, total / count
        header["rms"] = max(squares / count - (total / count) ** 2, 0.0) ** 0.5
        file.seek(0)
        file.write(header.tobytes())
