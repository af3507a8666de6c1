"""Whether cells come apart and stay apart: a fixed membrane segmenter on true and on reconstructed slices.

The partitions it makes are compared with given labels by the adapted Rand error [1]_ and by the variation of
information [2]_, of each dropped slice by itself.

References
----------
.. [1] I. Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for connectomics",
   Frontiers in Neuroanatomy 9:142, 2015.
.. [2] M. Meilă, "Comparing clusterings: an information based distance", J. Multivariate Analysis 98(5), 873-895, 2007.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.stack import Stack

from ._halves import TRUTH, halves
from ._intervals import Estimate
from ._methods import check_methods, expected_work, reconstruct
from ._metric_rows import estimates
from ._result import estimates_as_dict, estimates_table, write_json
from ._segmenter import ForestSegmenter
from ._thin import Sampling, slices_of_truth, thin

if TYPE_CHECKING:
    from pathlib import Path

    from napari_emgauss.fitting import FitConfig

MEMBRANE = 0.5  # probability from which a pixel is a membrane when seeds are sought
SEED_SIGMA = 2.0  # pixels: smooths the distance from membranes, so that a cell has one seed
SEED_RISE = 1.0  # pixels by which a seed lies farther from membranes than the saddle to the next
_SEGMENTER = "segmenter"


@dataclass(frozen=True)
class SegmentResult:
    """Partitions by method against the labels; the row ``truth`` is the segmenter on the true slices.

    Parameters
    ----------
    volume : str
        Its name.
    factor : int
        One slice in so many was kept.
    slices : int
        How many dropped slices were scored, at most 48.
    columns : tuple of int
        First and last column of the region scored; the segmenter was trained on the columns before.
    methods : dict
        By method and metric (``adapted_rand_error``, ``voi_split``, ``voi_merge``): the mean over slices and its
        interval.
    """

    volume: str
    factor: int
    slices: int
    columns: tuple[int, int]
    methods: dict[str, dict[str, Estimate]]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            "volume": self.volume,
            "factor": self.factor,
            "segmenter": ForestSegmenter.name,
            "slices": self.slices,
            "columns": list(self.columns),
            "methods": {
                name: {"metrics": estimates_as_dict({"segments": found})} for name, found in self.methods.items()
            },
        }

    def write_json(self, path: str | Path) -> None:
        """Write :meth:`as_dict`, whole or not at all."""
        write_json(path, self.as_dict())

    def table(self) -> str:
        """The scores as text, one method a line."""
        title = (
            f"{self.volume} ×{self.factor}: cells separated by membranes that {ForestSegmenter.name} finds, on "
            f"{self.slices} dropped slices, columns {self.columns[0]} to {self.columns[1]}"
        )
        found = {name: {"segments": one} for name, one in self.methods.items()}
        return f"{title}\n{estimates_table('mean ± half of its 95 % interval', found, 'segments')}"


def evaluate_labels(
    volume: Stack,
    labels: Stack,
    factor: int,
    *,
    methods: Sequence[str] | None = None,
    crop: tuple[int, int, int] | None = None,
    axis: int = 0,
    sampling: Sampling = "point",
    config: FitConfig | None = None,
    on_progress: OnProgress | None = None,
) -> SegmentResult:
    """Reconstruct dropped slices, part their cells by membranes, and compare with the labels.

    A random forest learns on true slices in the left half of the volume where membranes are: wherever two labels meet,
    and where the label is 0. In the right half it is applied to true and to reconstructed slices alike; a watershed of
    its probability makes the partition. It is a fixed yardstick, not a good segmentation: the row ``truth`` is what it
    reaches on the slices themselves.

    Parameters
    ----------
    volume : Stack
        The truth, isotropic.
    labels : Stack
        Same shape: one number a cell, 0 where there is none; pixels of 0 are not scored.
    factor, methods, crop, axis, sampling, config, on_progress
        As in :func:`evaluate`.

    Raises
    ------
    ConfigError
        The labels do not fit the volume or show no two cells; scikit-learn is missing.
    """
    if labels.shape != volume.shape:
        raise ConfigError(
            f"The labels have shape {labels.shape}, but the volume has {volume.shape}: they must be equal."
        )
    names = check_methods(methods)
    thinned = thin(volume, factor, sampling=sampling, axis=axis, crop=crop)
    cells = slices_of_truth(labels, thinned, axis, crop)
    where = halves(
        thinned,
        cells.shape[2],
        lambda k, start: _cells_in(cells[k, :, start:]) > 1,
        "The labels show fewer than two cells on the dropped slices in the right half of the volume.",
    )
    start, scored = where.start, where.scored
    progress = Progress(on_progress)
    shares = progress.shares({_SEGMENTER: 10.0, TRUTH: 10.0, **{name: expected_work(name) + 10 for name in names}})
    shares[_SEGMENTER].tell(0.0, "training")
    forest = where.train(thinned, lambda k: membranes_of(cells[k]))
    gaps = np.searchsorted(thinned.stack.z_nm, thinned.z_nm[scored]).tolist()

    def compared(images: NDArray[np.float32], progress: Progress) -> dict[str, Estimate]:
        values = []
        for done, index in enumerate(scored):
            progress.tell(done / len(scored), "segmenting")
            found = partition(where.tried(forest, images[index]))
            values.append(compare_partitions(found, cells[index][:, start:]))
        return estimates(values, gaps)

    results = {TRUTH: compared(thinned.truth, shares[TRUTH])}
    for name in names:
        share = expected_work(name) / (expected_work(name) + 10)
        images, _ = reconstruct(name, thinned.stack, thinned.z_nm, config, shares[name].part(0.0, share))
        results[name] = compared(images, shares[name].part(share, 1.0))
    progress.tell(1.0, "done")
    return SegmentResult(volume.name, factor, len(scored), (start, cells.shape[2] - 1), results)


def membranes_of(cells: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two labels of a ``(H, W)`` slice meet, two pixels wide, and where the label is 0."""
    from skimage.segmentation import find_boundaries

    return np.asarray(find_boundaries(cells, mode="thick") | (cells == 0), dtype=bool)


def partition(membranes: NDArray[np.float32]) -> NDArray[np.int32]:
    """Cells of a ``(H, W)`` slice from the probability of membranes: a watershed from where no membrane is near."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter, label
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    away = gaussian_filter(distance_transform_edt(membranes < MEMBRANE), SEED_SIGMA)
    seeds, count = label(h_maxima(away, SEED_RISE))
    if count == 0:
        return np.ones(membranes.shape, dtype=np.int32)
    return np.asarray(watershed(membranes, seeds), dtype=np.int32)


def compare_partitions(found: NDArray[Any], cells: NDArray[Any]) -> dict[str, float | None]:
    """Adapted Rand error and variation of information (bits) of a ``(H, W)`` partition; pixels labelled 0 do not count.

    A cell that appears twice in the slice counts as two: how they hang together elsewhere cannot be seen in it.
    """
    from skimage.measure import label
    from skimage.metrics import adapted_rand_error, variation_of_information

    truth = np.asarray(label(cells, background=0, connectivity=1))
    where = truth > 0
    if not where.any():
        return {"adapted_rand_error": None, "voi_split": None, "voi_merge": None}
    error, _, _ = adapted_rand_error(truth[where], found[where])
    split, merge = variation_of_information(truth[where], found[where])
    return {"adapted_rand_error": float(error), "voi_split": float(split), "voi_merge": float(merge)}


def _cells_in(labels: NDArray[Any]) -> int:
    return int(np.count_nonzero(np.unique(labels)))
