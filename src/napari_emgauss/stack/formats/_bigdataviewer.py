"""What BigDataViewer keeps beside its HDF5 and N5 files: an XML file with the size of a voxel.

Its HDF5 files hold 16-bit values without sign in arrays that say they are signed, for that is what Java has.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

_SOURCE = "BigDataViewer's XML"
_HDF5_CELLS = re.compile(r"t(\d{5})/s(\d{2,})/(\d+)/cells")
_N5_CELLS = re.compile(r"setup(\d+)/timepoint(\d+)/s(\d+)")
# XML files of a folder that are looked into, and how large they may be.
_MOST_FILES, _LARGEST_FILE = 50, 32 << 20


def hdf5_place(name: str) -> tuple[int, int, int] | None:
    """Time point, setup and level of an array by its path; None where it is none of BigDataViewer's."""
    found = _HDF5_CELLS.fullmatch(name)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def n5_place(name: str) -> tuple[int, int, int] | None:
    """As :func:`hdf5_place`, of an N5 container."""
    found = _N5_CELLS.fullmatch(name)
    return (int(found[2]), int(found[1]), int(found[3])) if found else None


def setup_voxel_size(data: Path, setup: int) -> VoxelSize:
    """Voxel size of the finest level of a setup, from the XML file that belongs to ``data``; unknown without one."""
    for path in _candidates(data):
        try:
            root = ElementTree.parse(path).getroot()
        except (OSError, ElementTree.ParseError):
            continue
        loader = root.find(".//ImageLoader")
        named = [(one.text or "").strip() for one in loader] if loader is not None else []
        if path.stem != data.stem and data.name not in {Path(text).name for text in named}:
            continue
        for view in root.iter("ViewSetup"):
            if (view.findtext("id") or "").strip() == str(setup):
                return _size(view)
    return VoxelSize()


def _candidates(data: Path) -> list[Path]:
    """XML files that may belong to the data, the one of the same name first."""
    same = data.with_suffix(".xml")
    others = sorted(path for path in data.parent.glob("*.xml") if path != same)[:_MOST_FILES]
    return [path for path in [same, *others] if path.is_file() and path.stat().st_size <= _LARGEST_FILE]


def _size(view: ElementTree.Element) -> VoxelSize:
    factor = nm_per_unit(view.findtext("voxelSize/unit"))
    try:
        x, y, z = (float(number) for number in (view.findtext("voxelSize/size") or "").split())
    except ValueError:
        return VoxelSize()
    return VoxelSize() if factor is None else VoxelSize(z * factor, y * factor, x * factor, source=_SOURCE)


def scaled(size: VoxelSize, factors_xyz: list[float]) -> VoxelSize:
    """The voxel size of a coarser level."""
    x, y, z = factors_xyz
    zyx = ((size.z_nm, z), (size.y_nm, y), (size.x_nm, x))
    z_nm, y_nm, x_nm = (None if one is None else one * factor for one, factor in zyx)
    return VoxelSize(z_nm, y_nm, x_nm, source=size.source)
