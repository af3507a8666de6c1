"""What the benchmarks of the fit share: a thinned volume, a prior that answers at once, scores against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from _machine import shared_data
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from napari_emgauss.evaluation import fsim
from napari_emgauss.fitting._labels import label_depths
from napari_emgauss.priors import Observation, PseudoLabel, get_prior
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import Normalisation, Stack

VOXEL_NM = 8.0
"""Of isotropic volumes: changes nothing but the unit of depth."""
ANISOTROPIC_NM = {"vnc": (50.0, 4.6)}
"""Distance of slices and size of pixels of volumes that are not isotropic."""


@dataclass(frozen=True)
class Cell:
    """A volume, the slices kept of it, and the truth up to the last kept one."""

    name: str
    factor: int
    truth: NDArray[np.uint8]
    stack: Stack
    step_nm: float = VOXEL_NM

    @property
    def observation(self) -> Observation:
        """The kept slices as priors see them."""
        return Observation(self.stack.unit_slices(), self.stack.z_nm, self.stack.pixel_size_nm)


def cell(name: str, factor: int, crop: tuple[int, int, int] | None = None) -> Cell | None:
    """A benchmark volume with every ``factor``-th slice kept; None where the volume is absent."""
    path = shared_data(f"{name}.ome.tif")
    if path is None:
        return None
    volume = tifffile.imread(path)
    if crop is not None:
        volume = volume[: crop[0], : crop[1], : crop[2]]
    truth = volume[: (len(volume) - 1) // factor * factor + 1]
    kept = truth[::factor]
    step_nm, pixel_nm = ANISOTROPIC_NM.get(name, (VOXEL_NM, VOXEL_NM))
    z_nm = np.arange(len(kept), dtype=np.float64) * factor * step_nm
    stack = Stack(kept, z_nm, (pixel_nm, pixel_nm), Normalisation(0.0, 255.0, "uint8"), name=name)
    return Cell(name, factor, truth, stack, step_nm)


class PreparedPrior:
    """A prior prepared once for one cell, for many fits."""

    def __init__(self, name: str, where: Cell) -> None:
        self.name = name
        prepared = get_prior(name).prepare(where.observation)
        depths = label_depths(where.stack.z_nm, where.stack.pixel_size_nm[0], None).z_nm
        dropped = np.arange(len(where.truth)) * where.step_nm
        self._labels = {round(float(z), 3): prepared.at(float(z)) for z in np.union1d(depths, dropped)}

    def prepare(self, *_observation: Any, **_options: Any) -> PreparedPrior:
        """Itself: the work is done."""
        return self

    def at(self, z_nm: float) -> PseudoLabel:
        """The label at one of the depths a fit asks for."""
        return self._labels[round(float(z_nm), 3)]


def _scores(images: NDArray[np.floating], truth: NDArray[np.floating]) -> dict[str, float]:
    rows = []
    for image, target in zip(images, truth, strict=True):
        psnr = 10 * np.log10(1.0 / np.mean((image - target) ** 2))
        ssim = structural_similarity(
            target, image, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        rows.append((psnr, ssim, fsim(image, target)))
    return dict(zip(("psnr", "ssim", "fsim"), np.mean(rows, axis=0).tolist(), strict=True))


def score_model(model: EmgaussModel, where: Cell) -> dict[str, float]:
    """PSNR, SSIM and FSIM over the dropped slices, and PSNR over the kept ones."""
    z = np.arange(len(where.truth))
    dropped, kept = z[z % where.factor != 0], z[z % where.factor == 0]
    truth = where.truth.astype(np.float32) / 255
    unseen = _scores(model.render(dropped * where.step_nm).astype(np.float32) / 255, truth[dropped])
    seen = _scores(model.render(kept * where.step_nm).astype(np.float32) / 255, truth[kept])
    return {**unseen, "seen_psnr": seen["psnr"]}


def score_prior(prior: PreparedPrior, where: Cell) -> dict[str, float]:
    """PSNR, SSIM and FSIM of the labels themselves over the dropped slices."""
    z = np.arange(len(where.truth))
    dropped = z[z % where.factor != 0]
    labels = np.stack([prior.at(float(k * where.step_nm)).image for k in dropped])
    return _scores(labels, where.truth[dropped].astype(np.float32) / 255)
