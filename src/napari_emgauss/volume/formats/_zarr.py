"""Volumes as OME-Zarr (NGFF 0.4 on Zarr 2, 0.5 and 0.6 on Zarr 3), with a pyramid made while the slices come in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_emgauss.volume._plan import ExportPlan

from ._levels import Level, chunks_of, connected, levels_like, plan_levels

_CHUNK = (32, 256, 256)
# What 0.6 calls the space that an image lies in.
_SYSTEM = "physical"


def write_ome_zarr(plan: ExportPlan, planes: Iterator[NDArray[Any]], target: Path) -> None:
    """OME-Zarr: levels halve the finest axes until they are alike, then all; metadata in nm.

    A coarse voxel is the mean of those below it, so its centre lies ``(factor - 1) / 2`` fine voxels further on: each
    level has that as translation, on top of the depth of the first slice.
    """
    import zarr

    version = plan.format.removeprefix("ome-zarr").removeprefix("-") or "0.4"
    newer = version != "0.4"
    group = zarr.open_group(str(target), mode="w", zarr_format=3 if newer else 2)
    names = "zyx" if plan.channels == 1 else "czyx"
    form: dict[str, Any] = (
        {"dimension_names": tuple(names)} if newer else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    )
    first = () if plan.channels == 1 else (plan.channels,)
    like = levels_like([shape for shape, _ in plan.levels_like]) if plan.levels_like else None
    levels = like or plan_levels(plan.shape, plan.voxel_size_nm)
    arrays = [
        group.create_array(
            str(number),
            shape=(*first, *level.shape),
            chunks=(*(1 for _ in first), *(plan.levels_like[number][1] if like else _chunks(plan, level))),
            dtype=plan.dtype,
            **form,
        )
        for number, level in enumerate(levels)
    ]
    writer = connected(arrays, levels, labels=plan.labels)
    for plane in planes:
        writer.push(plane)
    writer.finish()
    group.attrs.update(_metadata(plan, levels, names, version))


def _chunks(plan: ExportPlan, level: Level) -> tuple[int, int, int]:
    return chunks_of(level.shape, _CHUNK, plan.dtype, plan.channels)


def _metadata(plan: ExportPlan, levels: Sequence[Level], names: str, version: str) -> dict[str, Any]:
    """Attributes of the group, by the version of NGFF."""
    axes = [
        {"name": axis, "type": "channel"} if axis == "c" else {"name": axis, "type": "space", "unit": "nanometer"}
        for axis in names
    ]
    # Since 0.6 transformations say from where to where, and axes belong to the coordinate system that they lead to.
    named = version not in ("0.4", "0.5")
    datasets = []
    for number, level in enumerate(levels):
        steps = _transformations(plan, level)
        one = {
            "type": "sequence",
            "input": {"path": str(number)},
            "output": {"name": _SYSTEM},
            "transformations": steps,
        }
        datasets.append({"path": str(number), "coordinateTransformations": [one] if named else steps})
    multiscale = {
        "name": plan.path.name,
        **({"coordinateSystems": [{"name": _SYSTEM, "axes": axes}]} if named else {"axes": axes}),
        "datasets": datasets,
        "type": "nearest" if plan.labels else "mean",
        "metadata": plan.about,
    }
    about: dict[str, Any] = {}
    if plan.labels:
        beside_image = plan.path.parent.name == "labels"
        about["image-label"] = {"source": {"image": "../../"}} if beside_image else {}
    if version == "0.4":
        if about:
            about["image-label"]["version"] = version
        return {"multiscales": [{"version": version, **multiscale}], **about}
    return {"ome": {"version": version, "multiscales": [multiscale], **about}}


def _transformations(plan: ExportPlan, level: Level) -> list[dict[str, Any]]:
    """Scale and translation of a level; NGFF asks for those of the channel axis as well."""
    scale = level.voxel_size(plan.voxel_size_nm)
    shift = [size * (factor - 1) / 2 for size, factor in zip(plan.voxel_size_nm, level.factors, strict=True)]
    shift[0] += float(plan.depths_nm[0])
    channel = [] if plan.channels == 1 else [1]
    return [
        {"type": "scale", "scale": [1.0] * len(channel) + scale},
        {"type": "translation", "translation": [0.0] * len(channel) + shift},
    ]
