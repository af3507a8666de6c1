"""What the metadata of a TIFF file say of its voxel size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari_emgauss.stack._size_rules import without_unit
from napari_emgauss.stack._voxel_size import VoxelSize, nm_per_unit

from ._tiff_ome import parsed_pixels

# ImageJ's word for "not calibrated".
_NO_UNIT = {"pixel", "pixels"}
_CENTIMETRE = 3


def tiff_voxel_size(file: Any, number: int = 0, ome_xml: str | None = None) -> tuple[str, VoxelSize]:
    """Kind of TIFF, and what its metadata say of the voxel size.

    OME: PhysicalSize with its unit, micrometre where none is given (OME schema). ImageJ: ``spacing``, the resolution
    tags, and ``unit``, ``yunit`` and ``zunit``, of which the last two are written where they differ. LSM: metres. A
    plain TIFF's resolution is meant for printers and is not believed.

    Parameters
    ----------
    file : tifffile.TiffFile
    number : int
        Of the picture, where there are several.
    ome_xml : str, optional
        The OME-XML, where it is not in the file itself.
    """
    if ome_xml is None and file.is_ome:
        ome_xml = file.ome_metadata
    if ome_xml:
        return "OME-TIFF", _ome_size(ome_xml, number)
    if file.is_imagej:
        return "ImageJ TIFF", _imagej_size(file)
    if file.is_lsm and file.lsm_metadata:
        z, y, x = (file.lsm_metadata.get(f"VoxelSize{axis}") for axis in "ZYX")
        sizes = [None if size is None else float(size) * 1e9 for size in (z, y, x)]
        return "LSM", VoxelSize(sizes[0], sizes[1], sizes[2], source="LSM metadata")
    return "TIFF", VoxelSize()


def _ome_size(xml: str, number: int) -> VoxelSize:
    found = parsed_pixels(xml)
    if not found:
        return VoxelSize()
    pixels = found[min(number, len(found) - 1)]
    sizes: list[float | None] = []
    for axis in "ZYX":
        value, factor = pixels.get(f"PhysicalSize{axis}"), nm_per_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        try:
            sizes.append(None if value is None or factor is None else float(value) * factor)
        except ValueError:
            sizes.append(None)
    return VoxelSize(sizes[0], sizes[1], sizes[2], source="OME metadata" if any(sizes) else "unknown")


def _imagej_size(file: Any) -> VoxelSize:
    about, tags = file.imagej_metadata or {}, file.pages[0].tags
    # Without a spacing ImageJ shows 1.0, which may mean "never set": unknown is not 1.
    spacing = about.get("spacing")
    numbers: list[float | None] = [abs(float(spacing)) if isinstance(spacing, (int, float)) else None]
    for name in ("YResolution", "XResolution"):
        numerator, denominator = tags[name].value if name in tags else (0, 1)
        numbers.append(denominator / numerator if numerator and denominator else None)
    source = "ImageJ metadata"
    unit = str(about.get("unit", about.get("xunit", ""))).strip()
    if not unit and "ResolutionUnit" in tags and int(tags["ResolutionUnit"].value) == _CENTIMETRE:
        unit = "cm"
    if unit.lower() in _NO_UNIT:
        return VoxelSize()
    if not unit:
        return without_unit(numbers, source)
    units = [str(about.get(name, unit)) for name in ("zunit", "yunit", "xunit")]
    factors = [nm_per_unit(one) for one in units]
    sizes = [None if n is None or f is None else n * f for n, f in zip(numbers, factors, strict=True)]
    if not any(sizes):
        return VoxelSize()
    size = VoxelSize(sizes[0], sizes[1], sizes[2], source=source)
    if any(one.strip().lower() in ("inch", "in", "inches", '"') for one in units[1:]):
        # What ImageJ writes of a picture that it has opened with the resolution of a printer.
        dots = round(2.54e7 / sizes[1]) if sizes[1] else 0
        return replace(VoxelSize(source=source), doubt=f"{dots} dots per inch, which is a printer's resolution")
    return size
