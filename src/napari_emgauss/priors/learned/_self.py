"""The self-supervised prior: a network trained on the stack's own slices, applied to the planes that contain z."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_emgauss._errors import ConfigError, PriorError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.priors._protocol import Observation
from napari_emgauss.priors._state import PriorState, check_alike
from napari_emgauss.priors._volume_interpolator import VolumeInterpolator
from napari_emgauss.priors.classical._priors import chosen_device

from ._learned_prior import LearnedPrior
from ._self_config import EFFORTS, SelfPriorConfig
from ._square_pixels import gaps_in_pixels, square_pixels

if TYPE_CHECKING:
    import torch

    from napari_emgauss.priors.learned._network import NetworkConfig
    from napari_emgauss.priors.learned._training import Trained

_MOST_NODES = 31
_TRAINING_SHARE = 0.85


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

    config: SelfPriorConfig = field(default_factory=SelfPriorConfig)
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
        images = square_pixels(observation.images, observation.pixel_size_nm)
        level, spread = float(images.mean()), float(images.std())
        if spread == 0:
            raise PriorError(
                "All slices hold the same grey value, so there is nothing to learn: choose the prior 'linear'."
            )
        standardised = (images - np.float32(level)) / np.float32(spread)
        gaps_px = gaps_in_pixels(observation)
        nodes = int(np.clip(np.rint(np.median(gaps_px)) - 1, 1, _MOST_NODES))
        ratio = equivalent_gap_ratio(standardised, gaps_px) if config.equivalent_gap else 1.0
        seen_gaps_px = gaps_px * ratio
        size = NetworkConfig(nodes, config.channels, blocks=(1,) + (2,) * (len(config.channels) - 1))
        start = warm_network(size, float(np.median(seen_gaps_px))) if config.warm_start else None
        training = TrainingConfig(
            config.iterations, config.least_iterations, **(WARM_RATES if start is not None else {})
        )
        trained = _learned_before(state, size, device, config.iterations)
        if trained is None:
            trained = train_network(
                RowDropSampler(standardised, seen_gaps_px, nodes, training, seed, device),
                size,
                training,
                seed=seed,
                device=device,
                start=start,
                on_progress=on_progress,
                state=state,
            )
            state.put(_LEARNED, {"steps": trained.steps}, trained.network.state_dict())
            state.drop("training")
        return LearnedPrior(
            trained.network,
            level,
            spread,
            float(np.median(gaps_px)),
            replace(config, iterations=trained.steps),
            seed,
            name=self.name,
            gap_ratio=ratio,
            warm=start is not None,
        )


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


_LEARNED = "learned"


def _learned_before(state: PriorState, size: NetworkConfig, device: torch.device, steps: int) -> Trained | None:
    """The network that a training before has left, after ``steps`` if it does not say; None where it had not ended."""
    import torch

    from napari_emgauss.priors.learned._network import GapNetwork
    from napari_emgauss.priors.learned._training import Trained

    left = state.get(_LEARNED)
    if left is None:
        return None
    with torch.random.fork_rng(devices=[]):
        network = GapNetwork(size)
    with state.checked():
        check_alike(left.tensors, network.state_dict())
        network.load_state_dict(left.tensors)
        taken = left.values.get("steps", steps)
        if type(taken) is not int or not 1 <= taken <= steps:
            raise ValueError("The number of steps is not one of this training.")
    # As training leaves it: with another layout in memory sums come out differently in the last bit.
    there = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Trained(cast("GapNetwork", there.eval()), taken)
