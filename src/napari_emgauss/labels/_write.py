"""Labels of the whole volume to a file, or into the OME-Zarr that holds the image."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ExportError
from napari_emgauss._progress import OnProgress
from napari_emgauss.stack import Frame, Region
from napari_emgauss.volume import ModelView, export, grid_depths, plan_export

from ._carry import CarriedLabels

_GROUP = "labels"
_STORED = "gap.npy"


def export_labels(
    carried: CarriedLabels,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    spacing_nm: float | None = None,
    z_range_nm: Sequence[float] | None = None,
    format: str | None = None,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write labels at every depth of the isotropic grid; the grid is that of :func:`export` with the same numbers.

    Parameters
    ----------
    carried : CarriedLabels
        What to write.
    path : path
        A new file in a format of :func:`export` that holds the labels' type, or an OME-Zarr that holds the exported
        image: then the labels go beside it, as ``labels/NAME`` with the metadata that NGFF asks for.
    name : str, optional
        ``NAME`` in an OME-Zarr; that of the labels' file by default.
    spacing_nm, z_range_nm, format, overwrite, on_progress
        See :func:`export`.

    Returns
    -------
    Path
        Of the file or folder written.

    Raises
    ------
    ExportError
        It exists, cannot be written, or the image in the OME-Zarr lies on another grid.
    """
    path = Path(path)
    options: dict[str, Any] = {"spacing_nm": spacing_nm, "z_range_nm": z_range_nm}
    with _GapByGap(carried, spacing_nm, z_range_nm) as model:
        container = _Container.at(path)
        if container is None:
            return export(model, path, format=format, overwrite=overwrite, on_progress=on_progress, **options)
        chosen = name or Path(carried.labels.name).name.split(".")[0] or "labels"
        if "/" in chosen or "\\" in chosen or chosen.startswith("."):
            raise ExportError(f"'{chosen}' cannot be the name of labels in an OME-Zarr: leave out slashes and dots.")
        plan = plan_export(
            Frame.of(model), path / _GROUP / chosen, dtype=model.dtype, format=container.format, **options
        )
        container.check(plan.shape)
        with container.group():
            written = export(
                model, plan.path, format=container.format, overwrite=overwrite, on_progress=on_progress, **options
            )
            container.announce(chosen)
        return written


class _Container:
    """An OME-Zarr with an image, to which labels can be added."""

    def __init__(self, path: Path, format: str, shape: tuple[int, ...]) -> None:
        self.path, self.format, self.shape = path, format, shape

    @classmethod
    def at(cls, path: Path) -> _Container | None:
        """The container at a path; None where there is none."""
        import zarr

        if not path.is_dir():
            return None
        try:
            group = zarr.open_group(str(path), mode="r")
            newer = "ome" in group.attrs
            attributes: Any = group.attrs["ome"] if newer else group.attrs
            level: Any = group[attributes["multiscales"][0]["datasets"][0]["path"]]
            shape = tuple(int(n) for n in level.shape[-3:])
        except (KeyError, IndexError, TypeError, ValueError, OSError):
            return None
        version = attributes["version"] if newer else "0.4"
        return cls(path, "ome-zarr" if version == "0.4" else f"ome-zarr-{version}", shape)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse labels of another grid than the image's."""
        if shape != self.shape:
            sizes = [" x ".join(str(n) for n in one) for one in (self.shape, shape)]
            raise ExportError(
                f"The image in {self.path} has {sizes[0]} voxels, but the labels {sizes[1]}: give the spacing and z "
                "range that the image was exported with."
            )

    def group(self) -> _MadeFolder:
        """The group of all labels, made if it is not there; gone again if nothing gets into it."""
        return _MadeFolder(self.path / _GROUP)

    def announce(self, name: str) -> None:
        """Name labels in the group's list, as NGFF asks for."""
        import zarr

        newer = self.format != "ome-zarr"
        group = zarr.open_group(str(self.path / _GROUP), mode="a", zarr_format=3 if newer else 2)
        values: dict[str, Any] = dict(group.attrs.get("ome", {})) if newer else dict(group.attrs)
        listed = [str(one) for one in values.get("labels", [])]
        values["labels"] = [*listed, name] if name not in listed else listed
        group.attrs.update({"ome": {"version": self.format.removeprefix("ome-zarr-"), **values}} if newer else values)


class _MadeFolder:
    def __init__(self, path: Path) -> None:
        self._path, self._is_new = path, not path.exists()

    def __enter__(self) -> None:
        self._path.mkdir(exist_ok=True)

    def __exit__(self, *_: object) -> None:
        if self._is_new and not any(self._path.iterdir()):
            self._path.rmdir()


class _GapByGap(ModelView):
    """Labels of large slices worked out a part at a time, for all depths of a gap.

    A writer asks for whole slices, one after the other. What is prepared for a part of a gap is used for all its
    depths, and would not fit into memory for all parts at once: so each part is finished for the whole gap, and kept
    in a file until the slices are asked for.
    """

    def __init__(self, carried: CarriedLabels, spacing_nm: float | None, z_range_nm: Sequence[float] | None) -> None:
        super().__init__(carried)
        self.carried = carried
        self._depths = grid_depths(carried, spacing_nm=spacing_nm, z_range_nm=z_range_nm)
        self._folder: Path | None = None
        self._stored: tuple[int, NDArray[Any], NDArray[np.float64]] | None = None

    def __enter__(self) -> _GapByGap:
        if self.carried.has_parts:
            self._folder = Path(tempfile.mkdtemp(prefix="emgauss-labels-"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stored = None
        if self._folder is not None:
            # Only what was put there: whatever else got into the folder stays, and the folder with it.
            with contextlib.suppress(OSError):
                (self._folder / _STORED).unlink(missing_ok=True)
                self._folder.rmdir()

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        if self._folder is None or region is not None or shape is not None:
            return self.carried.render(depths_nm, region=region, shape=shape)
        return np.stack([self._slice(float(depth)) for depth in depths_nm])

    def _slice(self, depth_nm: float) -> NDArray[Any]:
        gap = self.carried.gap_of(depth_nm)
        if gap is None or self._folder is None:
            return self.carried.render(depth_nm)
        if self._stored is None or self._stored[0] != gap:
            self._stored = None
            within = np.array([z for z in self._depths if self.carried.gap_of(float(z)) == gap])
            values: NDArray[Any] = np.lib.format.open_memmap(
                self._folder / _STORED, "w+", self.carried.dtype, (len(within), *self.carried.shape[1:])
            )
            for region in self.carried.parts():
                y0, y1, x0, x1 = region
                box = (float(y0), float(y1), float(x0), float(x1))
                for k, z in enumerate(within):
                    values[k, y0:y1, x0:x1] = self.carried.render(float(z), region=box)
            self._stored = gap, values, within
        _, values, within = self._stored
        found = np.flatnonzero(np.abs(within - depth_nm) <= 1e-9 * abs(depth_nm))
        return np.array(values[found[0]]) if len(found) else self.carried.render(depth_nm)
