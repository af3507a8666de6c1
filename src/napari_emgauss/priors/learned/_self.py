"""The self-supervised prior: a network trained on the stack's own slices, applied to the planes that contain z."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, PriorError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.priors._protocol import Observation
from napari_emgauss.priors._registry import device_of_prior
from napari_emgauss.priors._state import PriorState, check_alike
from napari_emgauss.priors._volume_interpolator import VolumeInterpolator, nodes_at, resampled
from napari_emgauss.priors.classical._pixelwise import blur_slices
from napari_emgauss.priors.classical._priors import chosen_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig

Effort = Literal["fast", "default", "best"]


@dataclass(frozen=True)
class SelfPriorConfig:
    """Effort of the self-supervised prior. Work is counted in steps, not seconds, so that a seed fixes the result.

    Parameters
    ----------
    iterations : int
        Training steps.
    channels : tuple of int
        Width of the network, see `NetworkConfig`.
    rotations_deg : tuple of float
        Families of planes used, see `PlaneDirections`.
    mirrored : bool
        Average mirrored planes.
    correction : float
        How much of what a network that knows phantoms would change in the fused slices is changed, in [0, 1]; see
        `FusionNetwork`. Not all: it learned from priors that were trained more briefly and leave more to correct.
    final_blur_pixels : float
        In-plane Gaussian blur of the fused slices, to take off what noise is left there.
    warm_start : bool
        Start from weights learned on generated phantoms, where there are some of this size, instead of from nothing:
        far better after a hundred steps; after a thousand it makes no difference.
    equivalent_gap : bool
        Drop rows as far apart as slices look, not as far as they are said to be; see `equivalent_gap_ratio`.
    device : str
        ``auto`` (a CUDA device where there is one), ``cpu`` or ``cuda``.
    """

    iterations: int = 1800
    channels: tuple[int, ...] = (48, 64, 96)
    rotations_deg: tuple[float, ...] = (0.0, 45.0)
    mirrored: bool = True
    correction: float = 0.85
    final_blur_pixels: float = 0.0
    warm_start: bool = False
    equivalent_gap: bool = True
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ConfigError(f"The prior 'self' needs at least one training iteration, not {self.iterations}.")
        if not self.channels or min(self.channels) < 1:
            raise ConfigError("The prior 'self' needs at least one channel at every width.")
        if not self.rotations_deg:
            raise ConfigError("The prior 'self' needs at least one direction of planes; 0 stands for xz and yz.")
        if not 0 <= self.correction <= 1:
            raise ConfigError(f"The correction of the prior 'self' must lie between 0 and 1, not {self.correction}.")
        if not self.final_blur_pixels >= 0:
            raise ConfigError(f"The blur of a prior must be 0 or more pixels, not {self.final_blur_pixels}.")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"Unknown device '{self.device}'; choose one of auto, cpu, cuda.")


EFFORTS: dict[str, dict[str, Any]] = {
    "fast": {"iterations": 90, "rotations_deg": (0.0,), "mirrored": False, "warm_start": True},
    "default": {},
    "best": {"iterations": 4500, "channels": (64, 96, 128)},
}
"""What an effort changes in `SelfPriorConfig`."""

_MOST_NODES = 31
_TRAINING_SHARE = 0.85
_TURNED_VOXELS = 100_000_000
"""Above this many in-between voxels only xz and yz planes are used, unmirrored: time and memory grow with them."""


@dataclass(frozen=True)
class SelfPrior:
    """Prior that trains a compact network on the stack to restore dropped rows, and applies it along z.

    Parameters
    ----------
    config : SelfPriorConfig
        Its effort.
    name : str
        How settings call it.
    """

    config: SelfPriorConfig = SelfPriorConfig()
    name: str = "self"

    def prepare(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> VolumeInterpolator:
        """Train on the stack and predict all in-between slices; see `Prior.prepare`.

        Raises
        ------
        PriorError
            If the slices are too small or too few to learn from.
        BackendError
            If ``cuda`` is asked for and there is none.
        """
        return self.prepare_from(PriorState(), observation, seed=seed, on_progress=on_progress)

    def prepare_from(
        self,
        state: PriorState,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> VolumeInterpolator:
        """Go on from ``state``, and leave there what was learned; see `ResumablePrior.prepare_from`."""
        progress = Progress(on_progress)
        training = progress.part(0.0, _TRAINING_SHARE)
        learned = self.learn_from(state, observation, seed=seed, on_progress=training)
        return learned.prepare(observation, seed=seed, on_progress=progress.part(_TRAINING_SHARE, 1.0))

    def learn(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> LearnedPrior:
        """Train on the stack only: what was learned can be prepared for other parts of the same volume.

        Raises
        ------
        PriorError, BackendError
            As `prepare`.
        """
        return self.learn_from(PriorState(), observation, seed=seed, on_progress=on_progress)

    def learn_from(
        self, state: PriorState, observation: Observation, *, seed: int = 0, on_progress: OnProgress | None = None
    ) -> LearnedPrior:
        """The same from and into ``state``, where a training that has ended leaves its network.

        Raises
        ------
        PriorError, BackendError
            As `prepare`.
        ModelFileError
            ``state`` is damaged, or of another stack or prior.
        """
        import torch

        from napari_emgauss.priors._equivalent_gap import equivalent_gap_ratio
        from napari_emgauss.priors.learned._generic import warm_network
        from napari_emgauss.priors.learned._network import NetworkConfig
        from napari_emgauss.priors.learned._sampler import RowDropSampler
        from napari_emgauss.priors.learned._training import train_network
        from napari_emgauss.priors.learned._training_config import WARM_RATES, TrainingConfig

        if len(observation.images) < 2:
            raise PriorError("The prior 'self' needs at least two slices.")
        config = self.config
        device = torch.device(chosen_device(config.device, "the prior 'self'"))
        images = _square_pixels(observation.images, observation.pixel_size_nm)
        level, spread = float(images.mean()), float(images.std())
        if spread == 0:
            raise PriorError("All slices are of one grey, so there is nothing to learn; choose the prior 'linear'.")
        standardised = (images - np.float32(level)) / np.float32(spread)
        gaps_px = _gaps_px(observation)
        nodes = int(np.clip(np.rint(np.median(gaps_px)) - 1, 1, _MOST_NODES))
        ratio = equivalent_gap_ratio(standardised, gaps_px) if config.equivalent_gap else 1.0
        seen_gaps_px = gaps_px * ratio
        size = NetworkConfig(nodes, config.channels, blocks=(1,) + (2,) * (len(config.channels) - 1))
        start = warm_network(size, float(np.median(seen_gaps_px))) if config.warm_start else None
        training = TrainingConfig(config.iterations, **(WARM_RATES if start is not None else {}))
        network = _learned_before(state, size, device)
        if network is None:
            network = train_network(
                RowDropSampler(standardised, seen_gaps_px, nodes, training, seed, device),
                size,
                training,
                seed=seed,
                device=device,
                start=start,
                on_progress=on_progress,
                state=state,
            )
            state.put(_LEARNED, {}, network.state_dict())
            state.drop("training")
        return LearnedPrior(
            network,
            level,
            spread,
            float(np.median(gaps_px)),
            config,
            seed,
            name=self.name,
            gap_ratio=ratio,
            warm=start is not None,
        )


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
        return self._predicted(observation, None, on_progress)[0]

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

    def with_and_without_correction(
        self,
        observation: Observation,
        depths_nm: NDArray[np.float64],
        on_progress: OnProgress | None = None,
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Slices at some depths (nm), once with the whole correction of the fused slices and once without any."""
        whole = replace(self, config=replace(self.config, correction=1.0))
        corrected, uncorrected = (
            [interpolator.at(float(depth)).image for depth in depths_nm]
            for interpolator in whole._predicted(observation, depths_nm, on_progress)
        )
        return corrected, uncorrected

    def _predicted(
        self,
        observation: Observation,
        compared_nm: NDArray[np.float64] | None,
        on_progress: OnProgress | None,
    ) -> list[VolumeInterpolator]:
        """All in-between slices.

        With ``compared_nm`` those that these depths need are corrected and no others, and there are two volumes: with
        the correction and without it.
        """
        import torch

        from napari_emgauss.priors.learned._fusion import Correction, fusion_network
        from napari_emgauss.priors.learned._planes import PlaneDirections, predict_between
        from napari_emgauss.priors.learned._sampler import log_gaps

        config, level, spread, nodes = self.config, self.level, self.spread, self.network.config.nodes
        device = torch.device(chosen_device(config.device, "the prior 'self'"))
        images = _square_pixels(observation.images, observation.pixel_size_nm)
        standardised = (images - np.float32(level)) / np.float32(spread)
        in_between = (len(images) - 1) * nodes * images[0].size
        small = in_between <= _TURNED_VOXELS
        directions = PlaneDirections(config.rotations_deg if small else (0.0,), config.mirrored and small)
        predicting = Progress(on_progress, prefix="predicting the slices in between")
        gaps_px = _gaps_px(observation)
        correction = None
        if config.correction > 0:
            needed = None if compared_nm is None else nodes_at(observation.z_nm, compared_nm, nodes)
            correction = Correction(copy.deepcopy(fusion_network()).to(device), gaps_px, config.correction, needed)
        fused = predict_between(
            self.network.to(device),
            standardised,
            log_gaps(gaps_px, self.usual_gap_px),
            directions,
            device=device,
            correction=correction,
            keep_uncorrected=compared_nm is not None,
            on_progress=predicting.tell,
        )
        floor = _noise_floor(fused.variance)
        versions = [fused.mean] if fused.uncorrected is None else [fused.mean, fused.uncorrected]
        for gap in range(len(fused.mean)):
            for means in versions:
                smooth = means[gap]
                if config.final_blur_pixels > 0:
                    smooth = blur_slices(smooth, config.final_blur_pixels)
                means[gap] = smooth * np.float32(spread) + np.float32(level)
            fused.variance[gap] = np.clip(floor / np.maximum(fused.variance[gap], 1e-12), 0, 1)
        report = {"prior": self.name, "nodes": nodes, "seed": self.seed, **asdict(config), "device": device.type}
        report |= {"gap_ratio": round(self.gap_ratio, 3), "warm_start": self.warm}
        report = _json_values(report)
        return [
            VolumeInterpolator(observation.images, observation.z_nm, means, fused.variance, report, fused.folder)
            for means in versions
        ]


def self_prior(*, effort: str = "default", **settings: Any) -> SelfPrior:
    """The prior with an effort, and fields of `SelfPriorConfig` that differ from it.

    Raises
    ------
    ConfigError
        There is no such effort, or a value cannot work.
    """
    if effort not in EFFORTS:
        raise ConfigError(f"Unknown effort '{effort}' of the prior 'self'; choose one of {', '.join(EFFORTS)}.")
    return SelfPrior(SelfPriorConfig(**{**EFFORTS[effort], **settings}))


def restore_learned_prior(tensors: dict[str, Tensor], values: dict[str, Any], device: str) -> LearnedPrior:
    """Read what `LearnedPrior.saved` gave, for a fit on ``device``."""
    from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig

    settings = _with_tuples(values["config"])
    if "corrected" in settings:  # the setting's name while it was all or nothing
        settings["correction"] = float(settings.pop("corrected"))
    network = GapNetwork(NetworkConfig(**_with_tuples(values["network"])))
    network.load_state_dict(tensors)
    return LearnedPrior(
        network,
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


_LEARNED = "learned"


def _learned_before(state: PriorState, size: NetworkConfig, device: torch.device) -> GapNetwork | None:
    """The network that a training before has left; None where it had not ended."""
    import torch

    from napari_emgauss.priors.learned._network import GapNetwork

    left = state.get(_LEARNED)
    if left is None:
        return None
    with torch.random.fork_rng(devices=[]):
        network = GapNetwork(size)
    with state.checked():
        check_alike(left.tensors, network.state_dict())
        network.load_state_dict(left.tensors)
    # As training leaves it: with another layout in memory sums come out differently in the last bit.
    there = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return cast("GapNetwork", there.eval())


def _gaps_px(observation: Observation) -> NDArray[np.float64]:
    """Gaps in pixels; below two pixels, where no row would lie between, scaled up to two."""
    gaps_px = np.diff(observation.z_nm) / min(observation.pixel_size_nm)
    return np.asarray(gaps_px * max(1.0, 2.0 / float(np.median(gaps_px))))


def _json_values(values: dict[str, Any]) -> dict[str, Any]:
    """The values with tuples as lists, as JSON has them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _noise_floor(variance: NDArray[np.float32]) -> float:
    """Low end of the expected squared error: what noise alone makes, where the prior is at its surest."""
    sample = variance.reshape(-1)[:: max(1, variance.size // 200_000)]
    return float(np.quantile(sample, 0.1))


def _square_pixels(images: NDArray[np.float32], pixel_size_nm: tuple[float, float]) -> NDArray[np.float32]:
    """Slices resampled so that pixels are square (the finer of y and x); as they are where they nearly are."""
    finest = min(pixel_size_nm)
    if max(pixel_size_nm) / finest < 1.02:
        return images
    sizes = zip(images.shape[1:], pixel_size_nm, strict=True)
    shape = tuple(max(1, round(size * pixel / finest)) for size, pixel in sizes)
    return np.stack([resampled(image, shape) for image in images])
