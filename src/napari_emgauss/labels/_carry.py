"""Labels of some slices carried to any depth of the volume."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._cache import ByteBoundCache
from napari_emgauss._errors import ConfigError
from napari_emgauss.priors import blur_slices
from napari_emgauss.stack import Frame, Region
from napari_emgauss.volume import ModelTraits, VolumeModel, traits_of

from ._compete import nearest_objects
from ._methods import CARRY_METHODS, CarryMethod
from ._motion import GapMotion, gap_motion, no_motion, step_count
from ._objects import FURTHEST_PIXELS, GapObjects, gap_objects, object_radii
from ._outlines import follow_membranes, membrane_contrast
from ._source import BACKGROUND, LabelledSlices

_BLOCK = 1024
"""Side of the parts in which large slices are worked on, pixels."""
_HALO = int(2 * FURTHEST_PIXELS)
"""How far a part looks beyond its border: as far as distances are told, and as objects move."""
_CACHE_BYTES = 512 << 20
_SAME_DEPTH = 1e-6
_versions = count(1)

_GapKey: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""The two labelled slices of a gap, each with the state that its labels are in."""


@dataclass(frozen=True)
class _Block:
    """A part of the slices: what is worked out, and the larger part that is looked at for it."""

    core: tuple[slice, slice]
    seen: tuple[slice, slice]

    @property
    def inner(self) -> tuple[slice, slice]:
        """The core within what is seen."""
        rows, columns = (
            slice(core.start - seen.start, core.stop - seen.start)
            for core, seen in zip(self.core, self.seen, strict=True)
        )
        return rows, columns

    @property
    def region(self) -> Region:
        """What is seen, as models are asked for it."""
        rows, columns = self.seen
        return float(rows.start), float(rows.stop), float(columns.start), float(columns.stop)


@dataclass(frozen=True)
class _Gap:
    """What is prepared once for a part of a gap."""

    objects: GapObjects
    contrast: float

    @property
    def nbytes(self) -> int:
        return self.objects.nbytes


class CarriedLabels:
    """Labels at every depth of a model; can be rendered, shown and exported as a model can.

    Observed slices that are labelled come back as they are. Between two labelled slices every pixel belongs to the
    object of the least distance: the mean of the signed distances to its outlines in the two slices (Raya and Udupa,
    Shape-based interpolation of multidimensional objects, IEEE TMI 1990), looked up where the pixel's structure lies
    in them. Before the first labelled slice and behind the last nothing is known.

    Parameters
    ----------
    labels : LabelledSlices
        On the observed slices of ``model``.
    model : VolumeModel
        Says the depths; by ``method="model"`` its slices show motion and membranes.
    method : {"model", "distances", "nearest"}
        See :data:`CARRY_METHODS`.
    cache_bytes : int
        Memory for what is prepared for the gaps looked at last.

    Raises
    ------
    ConfigError
        There is no such method, or the model has several channels.
    """

    channels = 1
    traits = ModelTraits(holds_labels=True)

    def __init__(
        self,
        labels: LabelledSlices,
        model: VolumeModel,
        *,
        method: CarryMethod = "model",
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        if method not in get_args(CarryMethod):
            raise ConfigError(f"Labels cannot be carried by {method!r}: choose one of {', '.join(CARRY_METHODS)}.")
        if model.channels > 1:
            raise ConfigError(f"The model has {model.channels} channels: choose the one to look at with one_channel.")
        self.labels, self.model, self.method = labels, model, method
        self._frame = Frame.of(model)
        self._labelled_nm = [float(self._frame.z_nm[k]) for k in labels.labelled]
        self._version = next(_versions)
        # Most of the time goes into the motion, which does not depend on the labels: it is kept apart.
        self._motions: ByteBoundCache[tuple[int, int, int], GapMotion] = ByteBoundCache(
            lambda motion: motion.nbytes, cache_bytes // 2
        )
        self._gaps: ByteBoundCache[tuple[_GapKey, int], _Gap] = ByteBoundCache(lambda gap: gap.nbytes, cache_bytes // 2)
        self._radii: ByteBoundCache[_GapKey, dict[int, float]] = ByteBoundCache(
            lambda radii: 64 * len(radii) + 64, 64 << 20
        )
        self._states: dict[int, int] = {}
        self._range: tuple[np.float32, np.float32] | None = None
        self._blocks = list(_blocks(self._frame.shape[1:]))

    @property
    def z_nm(self) -> NDArray[np.float64]:
        """Depths of the observed slices, nm."""
        return self._frame.z_nm

    @property
    def pixel_size_nm(self) -> tuple[float, float]:
        """In-plane pixel size ``(y, x)``, nm."""
        return self._frame.pixel_size_nm

    @property
    def shape(self) -> tuple[int, int, int]:
        """Observed slices, rows, columns."""
        return self._frame.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the labels."""
        return self.labels.dtype

    @property
    def version(self) -> int:
        """Different for every object of this class: labels do not change under it."""
        return self._version

    @property
    def confidence(self) -> None:
        """Labels carry none."""
        return None

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the labels are from, and how they were carried."""
        return {
            "labels": self.labels.name,
            "labelled_slices": list(self.labels.labelled),
            "carried_by": self.method,
            "unlabelled": self.labels.unlabelled,
        }

    def relabelled(self, labels: LabelledSlices, changed: Collection[int]) -> CarriedLabels:
        """The same with other labels; what was prepared is shared, as far as it still holds.

        Parameters
        ----------
        labels : LabelledSlices
            All of them, also those that are as before.
        changed : collection of int
            Slices whose labels differ from those of this object.
        """
        other = copy.copy(self)
        other.labels = labels
        other._labelled_nm = [float(self._frame.z_nm[k]) for k in labels.labelled]
        other._version = next(_versions)
        other._states = {**self._states, **dict.fromkeys(changed, other._version)}
        return other

    @property
    def labelled_nm(self) -> tuple[float, ...]:
        """Depths of the labelled slices, nm."""
        return tuple(self._labelled_nm)

    @property
    def has_parts(self) -> bool:
        """Whether slices are so large that they are worked on in parts."""
        return len(self._blocks) > 1

    def parts(self) -> list[tuple[int, int, int, int]]:
        """Rows from, to, columns from, to of the parts."""
        cores = [block.core for block in self._blocks]
        return [(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in cores]

    def gap_of(self, depth_nm: float) -> int | None:
        """Number of the gap between labelled slices that a depth lies in; None at labelled slices and outside."""
        depths = self._labelled_nm
        slack = _SAME_DEPTH * (depths[-1] - depths[0])
        at_slice = np.abs(np.asarray(depths) - depth_nm).min() <= slack
        return None if at_slice or not depths[0] < depth_nm < depths[-1] else bisect_right(depths, depth_nm) - 1

    def render(self, z_nm: Any, *, region: Region | None = None, shape: tuple[int, int] | None = None) -> NDArray[Any]:
        """Labels at depths; cells of a coarser sampling get the label at their centre. See `VolumeModel.render`."""
        depths = self._frame.checked_depths(z_nm)
        y0, y1, x0, x1 = self._frame.checked_region(region)
        rows, columns = self._frame.centres((y0, y1, x0, x1), shape)
        taken = (rows.astype(np.int64), columns.astype(np.int64))
        window = tuple(slice(int(part.min()), int(part.max()) + 1) for part in taken)
        picked = np.ix_(taken[0] - window[0].start, taken[1] - window[1].start)
        images = np.stack([self._window(float(depth), (window[0], window[1]))[picked] for depth in depths])
        return np.asarray(images[0] if np.ndim(z_nm) == 0 else images)

    def _window(self, depth_nm: float, window: tuple[slice, slice]) -> NDArray[Any]:
        """Labels at a depth in a window of rows and columns."""
        depths, gap = self._labelled_nm, self.gap_of(depth_nm)
        out = np.full([part.stop - part.start for part in window], self.labels.nothing, self.dtype)
        if gap is None:
            nearest = int(np.argmin(np.abs(np.asarray(depths) - depth_nm)))
            if abs(depths[nearest] - depth_nm) <= _SAME_DEPTH * (depths[-1] - depths[0]):
                return np.array(self.labels.image(self.labels.labelled[nearest])[window])
            return out
        position = (depth_nm - depths[gap]) / (depths[gap + 1] - depths[gap])
        if self.method == "nearest":
            return np.array(self.labels.image(self.labels.labelled[gap + (position > 0.5)])[window])
        for number, block in enumerate(self._blocks):
            rows, columns = (
                slice(max(core.start, part.start), min(core.stop, part.stop))
                for core, part in zip(block.core, window, strict=True)
            )
            if rows.start < rows.stop and columns.start < columns.stop:
                found = self._carried(gap, number, position)
                own = block.core
                out[
                    rows.start - window[0].start : rows.stop - window[0].start,
                    columns.start - window[1].start : columns.stop - window[1].start,
                ] = found[
                    rows.start - own[0].start : rows.stop - own[0].start,
                    columns.start - own[1].start : columns.stop - own[1].start,
                ]
        return out

    def _carried(self, gap: int, number: int, position: float) -> NDArray[Any]:
        """Labels of a block's core at a position in a gap."""
        block = self._blocks[number]
        motion = self._motion(gap, number)
        prepared = self._gaps.get_or_load((self._key(gap), number), lambda _: self._prepare(gap, block, motion))
        size = (block.seen[0].stop - block.seen[0].start, block.seen[1].stop - block.seen[1].start)
        motions = no_motion(size) if motion is None else motion.at(position)
        numbers, distances, margins = nearest_objects(prepared.objects, position, motions)
        ids = prepared.objects.ids
        if prepared.contrast:
            depth = self._labelled_nm[gap] + position * (self._labelled_nm[gap + 1] - self._labelled_nm[gap])
            image = blur_slices(self._pictures(np.array([depth]), block))[0]
            background = np.flatnonzero(ids == BACKGROUND)
            numbers = follow_membranes(
                numbers, distances, margins, image, prepared.contrast, int(background[0]) if len(background) else None
            )
        found = np.full(size, self.labels.nothing, self.dtype)
        if len(ids):
            found = np.where(numbers >= 0, ids[np.maximum(numbers, 0)], found)
        return np.asarray(found[block.inner], dtype=self.dtype)

    def _key(self, gap: int) -> _GapKey:
        first, last = self.labels.labelled[gap : gap + 2]
        return (first, self._states.get(first, 0)), (last, self._states.get(last, 0))

    def _motion(self, gap: int, number: int) -> GapMotion | None:
        """How structures move in a block of a gap; None where that is not asked."""
        if self.method != "model":
            return None
        first, last = self.labels.labelled[gap : gap + 2]

        def follow(_: tuple[int, int, int]) -> GapMotion:
            positions, depths = self._steps(gap)
            return gap_motion(self._pictures(depths, self._blocks[number]), positions)

        return self._motions.get_or_load((first, last, number), follow)

    def _prepare(self, gap: int, block: _Block, motion: GapMotion | None) -> _Gap:
        first, last = self.labels.labelled[gap : gap + 2]
        above, below = (self.labels.image(k)[block.seen] for k in (first, last))
        nothing = self.labels.unlabelled
        unknown = [None if nothing is None else image == nothing for image in (above, below)]
        contrast = 0.0
        if motion is not None:
            pictures = self._pictures(self._frame.z_nm[[first, last]], block)
            contrast = (membrane_contrast(pictures[0], above) + membrane_contrast(pictures[1], below)) / 2
        reach = 0.0 if motion is None else min(motion.reach_pixels, FURTHEST_PIXELS)
        objects = gap_objects(
            above,
            below,
            reach_pixels=reach,
            radii=self._ending(gap),
            unknown_above=unknown[0],
            unknown_below=unknown[1],
        )
        return _Gap(objects, contrast)

    def _steps(self, gap: int) -> tuple[tuple[float, ...], NDArray[np.float64]]:
        """Positions and depths of the slices through which motion is followed, the labelled ones included."""
        first, last = self.labels.labelled[gap : gap + 2]
        observed = self._frame.z_nm[first : last + 1]
        pixel = float(np.mean(self.pixel_size_nm))
        parts = [
            np.linspace(here, there, step_count((there - here) / pixel), endpoint=False)
            for here, there in pairwise(observed)
        ]
        depths = np.concatenate([*parts, observed[-1:]])
        return tuple(float(p) for p in (depths - depths[0]) / (depths[-1] - depths[0])), depths

    def _pictures(self, depths_nm: NDArray[np.float64], block: _Block) -> NDArray[np.float32]:
        """What the model shows of a block, ``(n, H, W)`` in the unit range."""
        images = np.asarray(self.model.render(depths_nm, region=block.region))
        low, high = self._limits()
        return ((images.astype(np.float32) - low) / (high - low)).astype(np.float32)

    def _limits(self) -> tuple[np.float32, np.float32]:
        """Grey values of black and white."""
        if self._range is None:
            self._range = self._looked_up_limits()
        return self._range

    def _looked_up_limits(self) -> tuple[np.float32, np.float32]:
        dtype = np.dtype(self.model.dtype)
        normalisation = traits_of(self.model).normalisation
        if normalisation is not None:
            return np.float32(normalisation.low), np.float32(normalisation.high)
        if dtype == np.uint8:
            return np.float32(0), np.float32(255)
        _, height, width = self.shape
        sampled = self.model.render(self.z_nm[[0, -1]], shape=(min(height, 256), min(width, 256)))
        low, high = np.percentile(np.asarray(sampled, dtype=np.float64), (0.1, 99.9))
        return np.float32(low), np.float32(high if high > low else low + 1)

    def _ending(self, gap: int) -> dict[int, float] | None:
        """Radii of the objects that only one slice of a gap holds; None where a block is the whole slice anyway."""
        if len(self._blocks) == 1:
            return None
        return self._radii.get_or_load(self._key(gap), lambda _: self._radii_of(gap))

    def _radii_of(self, gap: int) -> dict[int, float]:
        pair = [self.labels.image(k) for k in self.labels.labelled[gap : gap + 2]]
        held = [{int(i) for i in np.unique(image)} for image in pair]
        ending = held[0] ^ held[1]
        radii: dict[int, float] = {}
        for image in pair:
            for block in self._blocks:
                for number, radius in object_radii(image[block.seen], ending, block.inner).items():
                    radii[number] = max(radius, radii.get(number, 0.0))
        return radii

    def __deepcopy__(self, memo: dict[int, Any]) -> CarriedLabels:
        # Duplicating a viewer's layer copies its data deeply; two layers may well share the labels.
        return self


def _blocks(shape: tuple[int, ...]) -> Iterator[_Block]:
    axes = [_parts(length) for length in shape]
    for rows, seen_rows in axes[0]:
        for columns, seen_columns in axes[1]:
            yield _Block((rows, columns), (seen_rows, seen_columns))


def _parts(length: int) -> list[tuple[slice, slice]]:
    if length <= _BLOCK + _HALO:
        return [(slice(0, length), slice(0, length))]
    return [
        (slice(start, min(start + _BLOCK, length)), slice(max(0, start - _HALO), min(start + _BLOCK + _HALO, length)))
        for start in range(0, length, _BLOCK)
    ]
