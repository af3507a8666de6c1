"""What the self-supervised prior has learned: a trained network, and the slices it infers."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.priors._error_law import PredictedError
from napari_emgauss.priors._protocol import Observation
from napari_emgauss.priors._registry import device_of_prior
from napari_emgauss.priors._volume_interpolator import VolumeInterpolator, nodes_at
from napari_emgauss.priors.classical._pixelwise import blur_slices
from napari_emgauss.priors.classical._priors import chosen_device

from ._self_config import SelfPriorConfig
from ._square_pixels import gaps_in_pixels, square_pixels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_emgauss.priors.learned._network import GapNetwork
    from napari_emgauss.priors.learned._planes import FusedVolume

_TURNED_VOXELS = 100_000_000
"""Above this many in-between voxels only xz and yz planes are used, unmirrored: time and memory grow with them."""


@dataclass(frozen=True)
class LearnedPrior:
    """What `SelfPrior.learn` learned: a prior that needs no more training, for any part of the same volume.

    Parameters
    ----------
    network : GapNetwork
        Trained.
    level, spread : float
        Mean and standard deviation of the grey values it was trained on, unit range.
    usual_gap_px : float
        Median of the gaps it was trained on.
    config : SelfPriorConfig
        The effort.
    seed : int
        Of the training.
    name : str
        How settings call it.
    gap_ratio : float
        What gaps were lengthened by in training, see `equivalent_gap_ratio`.
    warm : bool
        Whether training started from weights that know phantoms.
    """

    network: GapNetwork
    level: float
    spread: float
    usual_gap_px: float
    config: SelfPriorConfig
    seed: int
    name: str = "self"
    gap_ratio: float = 1.0
    warm: bool = False

    def prepare(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> VolumeInterpolator:
        """Predict all in-between slices; see `Prior.prepare`. ``seed`` is not needed any more."""
        return self._parts(observation, None, Progress(on_progress)).corrected

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The network's weights, and everything else as JSON can hold it; `restore_learned_prior` reads both."""
        values = {
            "network": asdict(self.network.config),
            "config": asdict(self.config),
            "level": self.level,
            "spread": self.spread,
            "usual_gap_px": self.usual_gap_px,
            "seed": self.seed,
            "gap_ratio": self.gap_ratio,
            "warm": self.warm,
        }
        return dict(self.network.state_dict()), values

    def compared(
        self,
        observation: Observation,
        depths_nm: NDArray[np.float64],
        on_progress: OnProgress | None = None,
    ) -> ComparedParts:
        """For some depths (nm), what the inferred slices are mixed from, each by itself."""
        correction = 1.0 if self.config.correction > 0 else 0.0
        whole = replace(self, config=replace(self.config, correction=correction))
        return whole._parts(observation, depths_nm, Progress(on_progress))

    def _parts(
        self, observation: Observation, compared_nm: NDArray[np.float64] | None, progress: Progress
    ) -> ComparedParts:
        """All in-between slices, mixed as ``config`` says; all three parts are this one volume.

        With ``compared_nm`` nothing is mixed: there are three volumes, and of the corrected one those slices alone are
        corrected that these depths need.
        """
        import torch

        config, level, spread = self.config, np.float32(self.level), np.float32(self.spread)
        device = torch.device(chosen_device(config.device, "the prior 'self'"))
        images = square_pixels(observation.images, observation.pixel_size_nm)
        needed = None if compared_nm is None else nodes_at(observation.z_nm, compared_nm, self.network.config.nodes)
        predicting = progress.part(0.0, 0.9 if config.carried > 0 else 1.0, "predicting the slices in between")
        fused = self._fused((images - level) / spread, gaps_in_pixels(observation), needed, device, predicting)
        floor, surest = _noise_floor(fused.variance)
        uncorrected = fused.mean if fused.uncorrected is None else fused.uncorrected
        carried = fused.mean if compared_nm is None or config.carried == 0 else np.empty_like(uncorrected)
        versions = [fused.mean] if fused.uncorrected is None else [fused.mean, fused.uncorrected]
        carrying = progress.part(0.9, 1.0, "carrying the observed slices")
        for gap in range(len(fused.mean)):
            for means in versions:
                smooth = means[gap]
                if config.final_blur_pixels > 0:
                    smooth = blur_slices(smooth, config.final_blur_pixels)
                means[gap] = smooth * spread + level
            if config.carried > 0:
                along = _carried(images[gap], images[gap + 1], fused.mean[gap], device)
                carried[gap] = along if compared_nm is not None else _mixed(fused.mean[gap], along, config.carried)
                carrying.tell((gap + 1) / len(fused.mean))
            fused.variance[gap] = np.clip(floor / np.maximum(fused.variance[gap], 1e-12), 0, 1)
        least, report = PredictedError(floor * self.spread**2, surest), self._report(device)

        def volume(means: NDArray[np.float32]) -> VolumeInterpolator:
            return VolumeInterpolator(
                observation.images, observation.z_nm, means, fused.variance, report, fused.folder, least
            )

        return ComparedParts(volume(fused.mean), volume(uncorrected), volume(carried))

    def _fused(
        self,
        standardised: NDArray[np.float32],
        gaps_px: NDArray[np.float64],
        needed: tuple[int, ...] | None,
        device: torch.device,
        progress: Progress,
    ) -> FusedVolume:
        """What the planes say of all in-between slices, corrected.

        With ``needed`` only these slices of each gap are corrected, and the uncorrected ones are kept, too.
        """
        from napari_emgauss.priors.learned._fusion import Correction, fusion_network
        from napari_emgauss.priors.learned._planes import PlaneDirections, predict_between
        from napari_emgauss.priors.learned._sampler import log_gaps

        config = self.config
        in_between = (len(standardised) - 1) * self.network.config.nodes * standardised[0].size
        small = in_between <= _TURNED_VOXELS
        directions = PlaneDirections(config.rotations_deg if small else (0.0,), config.mirrored and small)
        correction = None
        if config.correction > 0:
            correction = Correction(copy.deepcopy(fusion_network()).to(device), gaps_px, config.correction, needed)
        return predict_between(
            self.network.to(device),
            standardised,
            log_gaps(gaps_px, self.usual_gap_px),
            directions,
            device=device,
            correction=correction,
            keep_uncorrected=needed is not None,
            on_progress=progress.tell,
        )

    def _report(self, device: torch.device) -> dict[str, Any]:
        """How the volume came about, as JSON has it."""
        report = {"prior": self.name, "nodes": self.network.config.nodes, "seed": self.seed, **asdict(self.config)}
        report |= {"device": device.type, "gap_ratio": round(self.gap_ratio, 3), "warm_start": self.warm}
        return _json_values(report)


@dataclass(frozen=True)
class ComparedParts:
    """What inferred slices are mixed from.

    Parameters
    ----------
    corrected, uncorrected : VolumeInterpolator
        With all of the fusion network's correction, and without any; the same where none is wanted.
    carried : VolumeInterpolator
        The observed slices, carried along; the corrected ones where nothing is carried.
    """

    corrected: VolumeInterpolator
    uncorrected: VolumeInterpolator
    carried: VolumeInterpolator


def _carried(
    above: NDArray[np.float32], below: NDArray[np.float32], inferred: NDArray[np.float32], device: torch.device
) -> NDArray[np.float32]:
    """`carried_slices` on the device."""
    from napari_emgauss._torch import uploaded
    from napari_emgauss.priors.classical._carried import carried_slices

    given = (uploaded(np.ascontiguousarray(one), device) for one in (above, below, inferred))
    return np.asarray(carried_slices(*given).cpu().numpy())


def _mixed(one: NDArray[np.float32], other: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    return np.float32(1 - share) * one + np.float32(share) * other


def restore_learned_prior(tensors: dict[str, Tensor], values: dict[str, Any], device: str) -> LearnedPrior:
    """Read what `LearnedPrior.saved` gave, for a fit on ``device``."""
    import torch

    from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig

    settings = _with_tuples(values["config"])
    if "corrected" in settings:  # the setting's name while it was all or nothing
        settings["correction"] = float(settings.pop("corrected"))
    settings.setdefault("carried", 0.0)  # what was learned before there was such a step
    network = GapNetwork(NetworkConfig(**_with_tuples(values["network"])))
    network.load_state_dict(tensors)
    # As training leaves it: with another layout in memory some processors sum up in another order.
    ready = network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return LearnedPrior(
        ready,
        float(values["level"]),
        float(values["spread"]),
        float(values["usual_gap_px"]),
        SelfPriorConfig(**{**settings, "device": device_of_prior(device)}),
        int(values["seed"]),
        gap_ratio=float(values.get("gap_ratio", 1.0)),
        warm=bool(values.get("warm", False)),
    )


def _with_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """The values with lists as tuples, as settings have them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def _json_values(values: dict[str, Any]) -> dict[str, Any]:
    """The values with tuples as lists, as JSON has them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _noise_floor(variance: NDArray[np.float32]) -> tuple[float, float]:
    """Low end of the expected squared error, what noise alone makes, and the mean of what lies below over it."""
    sample = variance.reshape(-1)[:: max(1, variance.size // 200_000)]
    floor = float(np.quantile(sample, 0.1))
    below = float(sample[sample <= floor].mean(dtype=np.float64)) / floor if floor > 0 else 1.0
    return floor, min(1.0, max(0.1, below))
