"""The OME-Zarr that holds an image, and gets labels beside it (NGFF 0.4 to 0.6)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import EmgaussError, ExportError
from napari_emgauss.stack import Frame, to_nm

GROUP = "labels"
_SAME_DEPTH = 1e-6
_Levels = tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...]


class ImageContainer:
    """An OME-Zarr with an image.

    Parameters
    ----------
    path : Path
        Of the group.
    format : str
        One of :func:`~napari_emgauss.volume.export_formats`, by the version of its metadata.
    levels : tuple of pairs
        Shape and chunks (slices, rows, columns) of each level of the image.
    z_nm : tuple of float or None
        Depth of the first slice of the image and distance between slices, nm; None where it does not say.
    """

    def __init__(self, path: Path, format: str, levels: _Levels, z_nm: tuple[float, float] | None) -> None:
        self.path, self.format, self.levels, self.z_nm = path, format, levels, z_nm

    @classmethod
    def at(cls, path: Path) -> ImageContainer | None:
        """The container at a path; None where there is no folder.

        Raises
        ------
        ExportError
            The folder holds no image that labels could lie beside.
        """
        if not is_zarr(path):
            return None
        attributes, newer = _attributes(path)
        if "image-label" in attributes:  # labels in a file of their own, which a new export may replace
            return None
        import zarr

        try:
            group = zarr.open_group(str(path), mode="r")
            version = str(attributes["version"]) if newer else "0.4"
            datasets = attributes["multiscales"][0]["datasets"]
            arrays: list[Any] = [group[one["path"]] for one in datasets]
            levels = tuple((_last_three(array.shape), _last_three(array.chunks)) for array in arrays)
        except Exception as error:  # a folder of somebody else's may hold anything
            raise ExportError(
                f"'{path}' is a Zarr, but not an OME-Zarr with an image that labels could lie beside: give the one "
                "that the volume was exported to, or a new name."
            ) from error
        z_nm = _depths(attributes["multiscales"][0])
        return cls(path, "ome-zarr" if version == "0.4" else f"ome-zarr-{version}", levels, z_nm)

    def grid(self, frame: Frame) -> tuple[float, tuple[float, float]] | None:
        """Spacing and z range, nm, of the image, for the labels to have the same; None where it does not say."""
        if self.z_nm is None or self.levels[0][0][0] < 2:
            return None
        first, step = self.z_nm
        last = first + step * (self.levels[0][0][0] - 1)
        z0, z1 = float(frame.z_nm[0]), float(frame.z_nm[-1])
        slack = _SAME_DEPTH * (z1 - z0)
        if not z0 - slack <= first < last <= z1 + slack:
            raise ExportError(
                f"The image in '{self.path}' reaches from {first:g} to {last:g} nm, but the model from {z0:g} to "
                f"{z1:g} nm: it is the image of another model."
            )
        return step, (max(first, z0), min(last, z1))

    def check(self, shape: tuple[int, int, int]) -> None:
        """Refuse labels of another grid than the image's."""
        if shape != self.levels[0][0]:
            sizes = [" x ".join(str(n) for n in one) for one in (self.levels[0][0], shape)]
            raise ExportError(
                f"The image in {self.path} has {sizes[0]} voxels, but the labels {sizes[1]}: give the spacing and z "
                "range that the image was exported with."
            )

    def group(self) -> _MadeFolder:
        """The group of all labels, made if it is not there; gone again if nothing gets into it."""
        return _MadeFolder(self.path / GROUP)

    def announce(self, name: str) -> None:
        """Name labels in the group's list, as NGFF asks for."""
        import zarr

        newer = self.format != "ome-zarr"
        group = zarr.open_group(str(self.path / GROUP), mode="a", zarr_format=3 if newer else 2)
        values: dict[str, Any] = dict(group.attrs.get("ome", {})) if newer else dict(group.attrs)
        listed = [str(one) for one in values.get("labels", [])]
        values["labels"] = [*listed, name] if name not in listed else listed
        group.attrs.update({"ome": {"version": self.format.removeprefix("ome-zarr-"), **values}} if newer else values)


def depths_in_zarr(path: Path, count: int) -> NDArray[np.float64] | None:
    """``(count,)`` depths, nm, of the slices of an OME-Zarr that says where its first slice lies; else None."""
    multiscales = _attributes(path)[0].get("multiscales") if is_zarr(path) else None
    found = _depths(multiscales[0], needs_first=True) if isinstance(multiscales, list) and multiscales else None
    return None if found is None else np.asarray(found[0] + found[1] * np.arange(count), dtype=np.float64)


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder of Zarr."""
    return path.is_dir() and any((path / name).is_file() for name in (".zgroup", "zarr.json"))


def holds_image(path: Path) -> bool:
    """Whether a path is an OME-Zarr with an image; looks at its metadata alone, at once."""
    if not is_zarr(path):
        return False
    attributes, _ = _attributes(path)
    return "multiscales" in attributes and "image-label" not in attributes


def _attributes(path: Path) -> tuple[dict[str, Any], bool]:
    """What an OME-Zarr says of itself, and whether it is of NGFF 0.5 or later; empty where it says nothing."""
    for name, newer in (("zarr.json", True), (".zattrs", False)):
        try:
            values = json.loads((path / name).read_text(encoding="utf-8"))
            found = values["attributes"]["ome"] if newer else values
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(found, dict):
            return found, newer
    return {}, False


def _depths(multiscale: Any, *, needs_first: bool = False) -> tuple[float, float] | None:
    """Depth of the first slice of the finest level (0 where it is not said) and distance between slices, nm."""
    try:
        systems = multiscale.get("coordinateSystems")
        axes = systems[0]["axes"] if systems else multiscale["axes"]
        at = next(k for k, axis in enumerate(axes) if axis["name"] == "z")
        steps = list(multiscale["datasets"][0]["coordinateTransformations"])
        steps = steps[0]["transformations"] if steps[0]["type"] == "sequence" else steps
        scale = next(float(one["scale"][at]) for one in steps if one["type"] == "scale")
        said = [float(one["translation"][at]) for one in steps if one["type"] == "translation"]
        if needs_first and not said:
            return None
        first = said[0] if said else 0.0
        return to_nm(first, axes[at]["unit"]), to_nm(scale, axes[at]["unit"])
    except (KeyError, IndexError, TypeError, ValueError, StopIteration, AttributeError, EmgaussError):
        return None


def _last_three(sizes: Any) -> tuple[int, int, int]:
    depth, height, width = (int(n) for n in sizes[-3:])
    return depth, height, width


class _MadeFolder:
    def __init__(self, path: Path) -> None:
        self._path, self._is_new = path, not path.exists()

    def __enter__(self) -> None:
        self._path.mkdir(exist_ok=True)

    def __exit__(self, *_: object) -> None:
        if self._is_new and not any(self._path.iterdir()):
            self._path.rmdir()
