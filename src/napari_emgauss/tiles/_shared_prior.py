"""One prior for all tiles of a volume: chosen and trained once, on a sample, instead of in every tile.

Choosing and training take the same time whether a tile is large or small; done once they hardly count, and all tiles
restore their gaps in the same way. What was learned is kept in the run's folder, so that a run that goes on uses the
same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ModelFileError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.fitting import FitConfig
from napari_emgauss.priors import Observation, Prior, device_of_prior, prior_of_fit
from napari_emgauss.stack import Stack

from ._plan import TilePlan

if TYPE_CHECKING:
    from napari_emgauss.priors import Interpolator, LearnedPrior

PRIOR_NAME = "prior.safetensors"
_FORMAT = "napari-emgauss-prior"
_FORMAT_VERSION = 1

# Of choosing and training together.
_TRIAL_SHARE = 0.2

_PIECES = 2
_PIECE_PIXELS = 256


@dataclass(frozen=True)
class SharedPrior:
    """A weighted mean of priors of which nothing is left to choose or train.

    Parameters
    ----------
    name : str
        What the settings called it.
    parts : tuple
        ``(name, weight, prior)`` of each.
    """

    name: str
    parts: tuple[tuple[str, float, Prior], ...]

    def prepare(
        self, observation: Observation, *, seed: int = 0, on_progress: OnProgress | None = None
    ) -> Interpolator:
        """Make ready for one tile; see `Prior.prepare`."""
        from napari_emgauss.priors import WeightedInterpolator

        progress, count = Progress(on_progress), len(self.parts)
        ready = []
        for done, (_, weight, prior) in enumerate(self.parts):
            part = progress.part(done / count, (done + 1) / count)
            ready.append((weight, prior.prepare(observation, seed=seed, on_progress=part)))
        return WeightedInterpolator(ready, {"prior": self.name, "weights": {name: w for name, w, _ in self.parts}})


def learns(config: FitConfig) -> bool:
    """Whether the settings name a prior that chooses or trains, so that sharing it is of use."""
    return config.teacher_student and config.prior.partition(":")[0] in ("auto", "self")


def learn_shared_prior(
    stack: Stack, plan: TilePlan, config: FitConfig, on_progress: OnProgress | None = None
) -> SharedPrior:
    """Choose and train on a sample of the volume.

    Parameters
    ----------
    stack : Stack
        The volume.
    plan : TilePlan
        Its tiles; the sample has the slices of the middle depth window.
    config : FitConfig
        Names the prior; its seed is used.
    on_progress : callable, optional
        Told how far it is; may raise to stop.

    Raises
    ------
    PriorError
        The sample cannot be learned from.
    """
    from napari_emgauss.priors import AutoPrior, SelfPrior, choose_prior

    observation = sample(stack, plan)
    named = prior_of_fit(config.prior, str(config.device))
    if isinstance(named, SelfPrior):
        learned: Prior = named.learn(observation, seed=config.seed, on_progress=on_progress)
        return SharedPrior(config.prior, (("self", 1.0, learned),))
    if not isinstance(named, AutoPrior):
        return SharedPrior(config.prior, ((config.prior, 1.0, named),))
    progress = Progress(on_progress)
    choice = choose_prior(observation, named.config, seed=config.seed, on_progress=progress.part(0.0, _TRIAL_SHARE))
    parts: list[tuple[str, float, Prior]] = []
    for name, weight in choice.weights.items():
        if name == "self":
            training = progress.part(_TRIAL_SHARE, 1.0)
            learned = SelfPrior(choice.learned).learn(observation, seed=config.seed, on_progress=training)
            parts.append((name, weight, learned))
        else:
            parts.append((name, weight, prior_of_fit(name, str(config.device))))
    return SharedPrior(config.prior, tuple(parts))


def sample(stack: Stack, plan: TilePlan) -> Observation:
    """Pieces spread over the plane, side by side as one image, of the middle depth window.

    A piece's border makes a step that is in no tissue, but it is seen in one patch of many.
    """
    window = plan.slices[len(plan.slices) // 2]
    part = stack.select(range(window.start, window.stop))
    _, height, width = part.shape
    rows, columns = _starts(height), _starts(width)
    high, wide = min(_PIECE_PIXELS, height), min(_PIECE_PIXELS, width)

    def piece(y: int, x: int) -> NDArray[np.float32]:
        return part.crop((y, y + high, x, x + wide)).unit_slices()

    images = np.concatenate([np.concatenate([piece(y, x) for x in columns], axis=2) for y in rows], axis=1)
    return Observation(np.ascontiguousarray(images), part.z_nm, part.pixel_size_nm)


def _starts(length: int) -> list[int]:
    """Where pieces begin along an axis: evenly spread, apart from each other, one where there is no room for more."""
    if length < _PIECES * _PIECE_PIXELS:
        return [(length - min(_PIECE_PIXELS, length)) // 2]
    room = length / _PIECES
    return [round((k + 0.5) * room - _PIECE_PIXELS / 2) for k in range(_PIECES)]


def write_shared_prior(folder: Path, prior: SharedPrior) -> None:
    """Keep a prior in the run's folder, whole or not at all."""
    from napari_emgauss.model import write_tensors
    from napari_emgauss.priors import LearnedPrior

    tensors: dict[str, Any] = {}
    parts: list[dict[str, Any]] = []
    for name, weight, part in prior.parts:
        entry: dict[str, Any] = {"name": name, "weight": weight}
        if isinstance(part, LearnedPrior):
            tensors.update({f"{name}/{key}": value for key, value in part.network.state_dict().items()})
            entry["learned"] = {
                "network": asdict(part.network.config),
                "config": asdict(part.config),
                "level": part.level,
                "spread": part.spread,
                "usual_gap_px": part.usual_gap_px,
                "seed": part.seed,
                "gap_ratio": part.gap_ratio,
                "warm": part.warm,
            }
        parts.append(entry)
    header = {"format": _FORMAT, "format_version": _FORMAT_VERSION, "name": prior.name, "parts": parts}
    write_tensors(folder / PRIOR_NAME, tensors, header)


def read_shared_prior(folder: Path, device: str = "auto") -> SharedPrior | None:
    """The prior of a run's folder, for fits on ``device``; None where there is none.

    Raises
    ------
    ModelFileError
        It is damaged or of a newer version.
    """
    from napari_emgauss.model import read_tensors

    path = folder / PRIOR_NAME
    if not path.exists():
        return None
    tensors, header = read_tensors(path, expected_format=_FORMAT, newest_version=_FORMAT_VERSION, kind="prior")
    try:
        parts = tuple(
            (
                str(entry["name"]),
                float(entry["weight"]),
                _learned(entry["learned"], tensors, entry["name"], device)
                if "learned" in entry
                else prior_of_fit(entry["name"], device),
            )
            for entry in header["parts"]
        )
        return SharedPrior(str(header["name"]), parts)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"'{path}' is damaged; delete the folder and fit again.") from error


def _learned(values: dict[str, Any], tensors: dict[str, Any], name: str, device: str) -> LearnedPrior:
    from napari_emgauss.priors import GapNetwork, LearnedPrior, NetworkConfig, SelfPriorConfig

    def with_tuples(settings: dict[str, Any]) -> dict[str, Any]:
        return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}

    settings = with_tuples(values["config"])
    if "corrected" in settings:  # the setting's name while it was all or nothing
        settings["correction"] = float(settings.pop("corrected"))
    network = GapNetwork(NetworkConfig(**with_tuples(values["network"])))
    network.load_state_dict({k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
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


def describe(prior: SharedPrior) -> str:
    """For people: what it consists of."""
    return " + ".join(name if weight == 1 else f"{weight:.0%} {name}" for name, weight, _ in prior.parts)
