"""Pages that lead round in a circle: found before they are read for ever."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_emgauss import StackFileError
from napari_emgauss.stack import read_stack, read_voxel_size


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_circle_of_pages_is_damage(tmp_path: Path, byteorder: str, bigtiff: bool) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=bigtiff) as file:
        for _ in range(4):
            file.write(np.arange(16 * 18, dtype=np.uint16).reshape(16, 18), contiguous=False, metadata=None)
    assert read_stack(path, voxel_size_nm=(50, 5, 4)).shape == (4, 16, 18)
    with tifffile.TiffFile(path) as file:
        second, last = file.pages[1].offset, file.pages[3].offset
        tags = len(file.pages[3].tags)
    data = bytearray(path.read_bytes())
    place = last + (8 + 20 * tags if bigtiff else 2 + 12 * tags)
    form = byteorder + ("Q" if bigtiff else "I")
    assert struct.unpack_from(form, data, place) == (0,)
    struct.pack_into(form, data, place, second)
    path.write_bytes(data)
    with pytest.raises(StackFileError, match="page 4 leads back to an earlier one"):
        read_stack(path, voxel_size_nm=(50, 5, 4))
    with pytest.raises(StackFileError, match="damaged"):
        read_voxel_size(path)
