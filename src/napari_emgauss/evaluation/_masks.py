"""How well structures survive a reconstruction: a fixed segmenter on true and on reconstructed slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from napari_emgauss._errors import ConfigError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.stack import Stack

from ._halves import TRUTH, Halves, halves
from ._methods import check_methods, expected_work, reconstruct
from ._result import write_json
from ._text_table import number_cell, text_table
from ._thin import Sampling, Thinned, slices_of_truth, thin

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig

BOUNDARY_PIXELS = 5.0  # half width of the band around a structure's outline
_SEGMENTER = "segmenter"

Segment = Callable[[NDArray[np.float32], int], NDArray[np.float32]]


@dataclass(frozen=True)
class MaskScores:
    """How well a segmenter finds the structures in one method's slices.

    Parameters
    ----------
    region : float
        Soft intersection over union with the mask, 0 to 1.
    boundary : float
        The same, within 5 pixels of the structures' outlines.
    agreement : float
        Soft intersection over union with what the segmenter finds on the true slices.
    """

    region: float
    boundary: float
    agreement: float

    def as_dict(self) -> dict[str, float]:
        """The numbers by name."""
        return {"region_iou": self.region, "boundary_iou": self.boundary, "agreement_iou": self.agreement}


@dataclass(frozen=True)
class MaskResult:
    """Scores of structures by method; the row ``truth`` is the segmenter on the true slices.

    Parameters
    ----------
    volume : str
        Its name.
    factor : int
        One slice in so many was kept.
    segmenter : str
        What found the structures.
    slices : int
        How many dropped slices with structures were scored, at most 48.
    columns : tuple of int
        First and last column of the region scored; the segmenter was trained on the columns before.
    methods : dict
        Scores by method.
    """

    volume: str
    factor: int
    segmenter: str
    slices: int
    columns: tuple[int, int]
    methods: dict[str, MaskScores]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            "volume": self.volume,
            "factor": self.factor,
            "segmenter": self.segmenter,
            "slices": self.slices,
            "columns": list(self.columns),
            "methods": {name: scores.as_dict() for name, scores in self.methods.items()},
        }

    def write_json(self, path: str | Path) -> None:
        """Write :meth:`as_dict`, whole or not at all."""
        write_json(path, self.as_dict())

    def table(self) -> str:
        """The scores as text, one method a line."""
        rows = [
            [name, number_cell(one.region, 3), number_cell(one.boundary, 3), number_cell(one.agreement, 3)]
            for name, one in self.methods.items()
        ]
        title = (
            f"{self.volume} ×{self.factor}: structures found by {self.segmenter} on {self.slices} dropped slices, "
            f"columns {self.columns[0]} to {self.columns[1]}"
        )
        head = ["method", "region IoU", "boundary IoU", "IoU with truth's"]
        return f"{title}\n{text_table(head, rows)}"


def soft_iou(first: NDArray[Any], second: NDArray[Any], where: NDArray[np.bool_] | None = None) -> float:
    """Intersection over union of two maps in [0, 1] without a threshold: sum of minima over sum of maxima.

    The fuzzy Jaccard index; for two yes/no masks the usual IoU. Two empty maps agree: 1.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if where is not None:
        a, b = a[where], b[where]
    union = float(np.maximum(a, b).sum())
    return float(np.minimum(a, b).sum()) / union if union > 0 else 1.0


def boundary_band(mask: NDArray[np.bool_], pixels: float = BOUNDARY_PIXELS) -> NDArray[np.bool_]:
    """Pixels at most so far from the outline of a mask, on both sides (Cheng et al. 2021, Boundary IoU)."""
    if mask.all() or not mask.any():
        return np.zeros(mask.shape, dtype=bool)
    band: NDArray[np.bool_] = np.where(mask, distance_transform_edt(mask), distance_transform_edt(~mask)) <= pixels
    return band


def evaluate_masks(
    volume: Stack,
    masks: Stack,
    factor: int,
    *,
    methods: Sequence[str] | None = None,
    crop: tuple[int, int, int] | None = None,
    axis: int = 0,
    sampling: Sampling = "point",
    config: FitConfig | None = None,
    sam2_weights: str | Path | None = None,
    on_progress: OnProgress | None = None,
) -> MaskResult:
    """Reconstruct dropped slices and compare the structures that a fixed segmenter finds in them with the masks.

    The segmenter learns from true slices in the left half of the volume and is applied in the right half, to true and
    to reconstructed slices alike. Scores have no threshold: see :func:`soft_iou`.

    Parameters
    ----------
    volume : Stack
        The truth, isotropic.
    masks : Stack
        Same shape; anything above 0 is structure.
    factor, methods, crop, axis, sampling, config, on_progress
        As in :func:`evaluate`.
    sam2_weights : str or Path, optional
        Use SAM2 with these weights instead of the forest.

    Raises
    ------
    ConfigError
        The masks do not fit the volume or show no structure; scikit-learn or SAM2 is missing.
    """
    if masks.shape != volume.shape:
        raise ConfigError(f"The masks have shape {masks.shape}, but the volume has {volume.shape}: they must be equal.")
    names = check_methods(methods)
    thinned = thin(volume, factor, sampling=sampling, axis=axis, crop=crop)
    structure = slices_of_truth(masks, thinned, axis, crop) > 0
    where = halves(
        thinned,
        structure.shape[2],
        lambda k, start: bool(structure[k, :, start:].any()),
        "The masks show no structure on the dropped slices in the right half of the volume.",
    )
    start, scored = where.start, where.scored
    progress = Progress(on_progress)
    shares = progress.shares({_SEGMENTER: 10.0, TRUTH: 10.0, **{name: expected_work(name) + 10 for name in names}})
    shares[_SEGMENTER].tell(0.0, "training")
    segment, described = _segmenter(thinned, structure, where, sam2_weights)
    test_structure = structure[:, :, start:]

    def maps_of(images: NDArray[np.float32], progress: Progress) -> list[NDArray[np.float32]]:
        found = []
        for done, index in enumerate(scored):
            progress.tell(done / len(scored), "segmenting")
            found.append(segment(images[index], index))
        return found

    reference = maps_of(thinned.truth, shares[TRUTH])
    results = {TRUTH: _score(reference, reference, test_structure, scored)}
    for name in names:
        share = expected_work(name) / (expected_work(name) + 10)
        images, _ = reconstruct(name, thinned.stack, thinned.z_nm, config, shares[name].part(0.0, share))
        results[name] = _score(maps_of(images, shares[name].part(share, 1.0)), reference, test_structure, scored)
    progress.tell(1.0, "done")
    return MaskResult(volume.name, factor, described, len(scored), (start, where.width - 1), results)


def _score(
    found: list[NDArray[np.float32]],
    reference: list[NDArray[np.float32]],
    structure: NDArray[np.bool_],
    scored: list[int],
) -> MaskScores:
    """Over all slices together, so that a slice with little structure weighs little."""
    maps, expected, masks = np.stack(found), np.stack(reference), structure[scored]
    band = np.stack([boundary_band(mask) for mask in masks])
    return MaskScores(soft_iou(maps, masks), soft_iou(maps, masks, band), soft_iou(maps, expected))


def _segmenter(
    thinned: Thinned, structure: NDArray[np.bool_], where: Halves, sam2_weights: str | Path | None
) -> tuple[Segment, str]:
    """A function from a slice and its number to a map of the test region, and what it is called."""
    if sam2_weights is not None:
        from ._sam2 import load_predictor, outlines, structure_boxes

        predictor = load_predictor(sam2_weights)

        def outline(image: NDArray[np.float32], index: int) -> NDArray[np.float32]:
            boxes = structure_boxes(structure[index, :, where.start :])
            area = np.ascontiguousarray(image[:, where.start :])
            found = outlines(predictor, area, boxes)
            return np.any(found, axis=0).astype(np.float32) if found else np.zeros(area.shape, np.float32)

        return outline, f"SAM2 ({Path(sam2_weights).stem})"

    forest = where.train(thinned, lambda k: structure[k])
    return lambda image, _index: where.tried(forest, image), forest.name
