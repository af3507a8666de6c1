"""The prior chosen by the stack itself: hide every second slice, see which prior restores it best, use that one.

Isotropy, which the self-supervised prior assumes, holds for most tissue and fails for some (fibres along z, sections
cut unevenly). Nobody has to know beforehand: the hidden slices tell. The test is harder than the real task, as gaps
are twice as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, PriorError
from napari_emgauss._progress import OnProgress, Progress
from napari_emgauss.priors._error_law import ErrorLaw
from napari_emgauss.priors._error_trial import hidden_law
from napari_emgauss.priors._hidden_slices import hide_slices
from napari_emgauss.priors._info import PriorCost
from napari_emgauss.priors._learned_trial import best_mixture, restored_by_learning
from napari_emgauss.priors._merit import Structure, mean_score, merit
from napari_emgauss.priors._protocol import Observation, Prior, ResumablePrior
from napari_emgauss.priors._registry import get_prior
from napari_emgauss.priors._state import PriorState
from napari_emgauss.priors._weighted import WeightedInterpolator, WeightedPrior
from napari_emgauss.priors.classical._flow_prior import blurred_flow_prior, flow_prior
from napari_emgauss.priors.learned._cost import cost_of_learning, with_trial
from napari_emgauss.priors.learned._self import SelfPrior, self_prior
from napari_emgauss.priors.learned._self_config import SelfPriorConfig, trial_config

# Of the whole preparation; the rest is the chosen priors' own.
_TRIAL_SHARE = 0.2

_MEANS = {"flow+linear": ("linear", "flow"), "ensemble": ("linear+blur", "flow+blur")}
"""Classical candidates that are means of two others. Blur takes noise off electron micrographs, and structure off
stacks that have none: so there is one of either kind."""


@dataclass(frozen=True)
class AutoPriorConfig:
    """How `AutoPrior` chooses.

    Parameters
    ----------
    learned : SelfPriorConfig
        The self-supervised prior, should it be chosen.
    trial_iterations : int
        Training steps of its trial on the thinned stack, at most a third of those of the prior itself, from weights
        that know phantoms; enough to tell whether the tissue is isotropic.
    trial_pixels, trial_slices : int
        The trial looks at a central piece of at most this width and height and this many slices.
    mixing_margin : float
        A mixture of the self-supervised and the best classical prior must be better by this much than the better of
        the two alone, in dB-like units of `merit`.
    least_structure : float
        Of the FSIM of linear interpolation on the hidden slices, the share that must be kept: where the self-supervised
        prior blurs more than that away (gaps too long for it, by PSNR still the best guess), less of it is mixed in.
    correction_margin : float
        The self-supervised prior is corrected less (half, or not at all), and mixed with no carried slices, only where
        that is better by this much on the hidden slices, in the same units; see `SelfPriorConfig`.
    """

    learned: SelfPriorConfig = field(default_factory=SelfPriorConfig)
    trial_iterations: int = 80
    trial_pixels: int = 256
    trial_slices: int = 41
    mixing_margin: float = 0.12
    correction_margin: float = 0.05
    least_structure: float = 0.75

    def __post_init__(self) -> None:
        if self.trial_iterations < 1:
            raise ConfigError(
                f"The trial of the prior 'auto' needs at least one iteration, not {self.trial_iterations}."
            )
        if self.trial_slices < 3 or self.trial_pixels < 16:
            raise ConfigError("The trial of the prior 'auto' needs at least 3 slices and 16 pixels.")
        for name, margin in (("mixing", self.mixing_margin), ("correction", self.correction_margin)):
            if not margin >= 0:
                raise ConfigError(f"The {name} margin of the prior 'auto' must be 0 or more, not {margin}.")
        if not 0 <= self.least_structure <= 1:
            raise ConfigError(
                f"The prior 'auto' can keep a share of structure from 0 to 1, not {self.least_structure}."
            )


@dataclass(frozen=True)
class Choice:
    """What the trial found.

    Parameters
    ----------
    weights : dict
        Prior's name to its weight; they sum to one.
    scores : dict
        Name to ``{"psnr": dB, "ssim": ...}``, means over the hidden slices.
    hidden_slices : int
        How many slices were hidden; 0 if the stack was too short to hide any.
    note : str
        A sentence for people.
    learned : SelfPriorConfig
        The self-supervised prior, should it be used: with as much correction as was best.
    error_law : ErrorLaw or None
        Of the errors of a choice with the self-supervised prior in it, not settled yet.
    """

    weights: dict[str, float]
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    hidden_slices: int = 0
    note: str = ""
    learned: SelfPriorConfig = field(default_factory=SelfPriorConfig)
    error_law: ErrorLaw | None = None


@dataclass(frozen=True)
class AutoPrior:
    """Chooses between the self-supervised prior and the classical ones on hidden slices.

    Parameters
    ----------
    config : AutoPriorConfig
        Effort and thresholds.
    name : str
        How settings call it.
    """

    config: AutoPriorConfig = AutoPriorConfig()
    name: str = "auto"

    def prepare(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> WeightedInterpolator:
        """Choose, then prepare what was chosen; see `Prior.prepare`.

        ``report`` of the result holds the scores and the choice as JSON-compatible values.
        """
        return self.prepare_from(PriorState(), observation, seed=seed, on_progress=on_progress)

    def prepare_from(
        self,
        state: PriorState,
        observation: Observation,
        *,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> WeightedInterpolator:
        """Go on from ``state``, and leave there what was chosen and learned; see `ResumablePrior.prepare_from`."""
        progress = Progress(on_progress)
        choice, chosen = self._choose(state, observation, seed, progress)
        ready = chosen.prepare_from(state, observation, seed=seed, on_progress=progress.part(_TRIAL_SHARE, 1.0))
        if ready.error_law is None and (law := _error_law(chosen, observation, seed)) is not None:
            ready.error_law = law.settled(ready.predicted_error)
        progress.tell(1.0, choice.note)
        return ready

    def learn(self, observation: Observation, *, seed: int = 0, on_progress: OnProgress | None = None) -> WeightedPrior:
        """Choose, and train what was chosen: nothing is left to learn for other parts of the same volume."""
        return self.learn_from(PriorState(), observation, seed=seed, on_progress=on_progress)

    def learn_from(
        self, state: PriorState, observation: Observation, *, seed: int = 0, on_progress: OnProgress | None = None
    ) -> WeightedPrior:
        """The same from and into ``state``; see `ResumablePrior.learn_from`."""
        progress = Progress(on_progress)
        _, chosen = self._choose(state, observation, seed, progress)
        training = progress.part(_TRIAL_SHARE, 1.0)
        parts = tuple(
            (
                name,
                weight,
                prior.learn_from(state.part(name), observation, seed=seed, on_progress=training)
                if isinstance(prior, ResumablePrior)
                else prior,
            )
            for name, weight, prior in chosen.parts
        )
        law = _error_law(chosen, observation, seed)
        return WeightedPrior(self.name, parts, error_law=law)

    def _choose(
        self, state: PriorState, observation: Observation, seed: int, progress: Progress
    ) -> tuple[Choice, WeightedPrior]:
        trial = progress.part(0.0, _TRIAL_SHARE, "choosing a prior on hidden slices")
        choice = choose_prior(observation, self.config, seed=seed, on_progress=trial, state=state)
        device = self.config.learned.device
        parts = tuple(
            (name, weight, SelfPrior(choice.learned) if name == "self" else get_prior(name, device=device))
            for name, weight in choice.weights.items()
        )
        about = {"hidden_slices": choice.hidden_slices, "scores": choice.scores, "note": choice.note}
        return choice, WeightedPrior(self.name, parts, about, choice.error_law)


def _error_law(chosen: WeightedPrior, observation: Observation, seed: int) -> ErrorLaw | None:
    """The law of a choice's errors: from the trial, or from another where that chose a prior that learns nothing."""
    learns = any(isinstance(prior, SelfPrior) for _, _, prior in chosen.parts)
    return chosen.error_law if learns else hidden_law(chosen, observation, seed=seed)


def auto_prior(*, effort: str = "default", **settings: Any) -> AutoPrior:
    """The prior with an effort of `SelfPrior`, and fields of `AutoPriorConfig` and `SelfPriorConfig` that differ.

    Raises
    ------
    ConfigError
        There is no such effort, or a value cannot work.
    """
    own = {item.name for item in fields(AutoPriorConfig)} - {"learned"}
    learned = self_prior(effort=effort, **{key: value for key, value in settings.items() if key not in own})
    chosen = {key: value for key, value in settings.items() if key in own}
    return AutoPrior(AutoPriorConfig(learned=learned.config, **chosen))


def auto_cost(prior: Prior) -> PriorCost:
    """Cost of an `AutoPrior`. Whether it will choose the learned prior is not known beforehand: it is counted in."""
    config = cast("AutoPrior", prior).config
    trial = trial_config(config.learned, config.trial_iterations)
    return with_trial(cost_of_learning(config.learned), trial, config.trial_slices, config.trial_pixels)


def choose_prior(
    observation: Observation,
    config: AutoPriorConfig,
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    state: PriorState | None = None,
) -> Choice:
    """Hide every second slice of a central piece and see which prior restores it.

    The classical prior of most `merit` competes with the self-supervised one; mixtures of both are tried as well. A
    choice that was made before is taken from ``state``, and a trial that was stopped goes on from there.

    Raises
    ------
    ModelFileError
        ``state`` is damaged.
    """
    state = PriorState() if state is None else state
    choice = _choice_before(state, config)
    if choice is None:
        choice = _try_all(observation, config, seed, on_progress, state.part(_TRIAL))
        values = {"weights": choice.weights, "scores": choice.scores, "hidden_slices": choice.hidden_slices}
        law = None if choice.error_law is None else choice.error_law.to_json()
        learned = {"correction": choice.learned.correction, "carried": choice.learned.carried}
        more = {"note": choice.note, **learned, "error_law": law}
        state.put(_CHOICE, {**values, **more})
        state.drop(_TRIAL)
    return choice


_CHOICE, _TRIAL = "choice", "trial"


def _choice_before(state: PriorState, config: AutoPriorConfig) -> Choice | None:
    left = state.get(_CHOICE)
    if left is None:
        return None
    with state.checked():
        weights = {str(name): float(weight) for name, weight in left.values["weights"].items()}
        known = ("self", "linear", "linear+blur", "flow", "flow+blur", *_MEANS)
        if not weights or any(name not in known or not 0 < weight <= 1 for name, weight in weights.items()):
            raise ValueError("The choice is none.")
        values = left.values
        learned = replace(
            config.learned, correction=float(values["correction"]), carried=float(values.get("carried", 0.0))
        )
        law = None if values.get("error_law") is None else ErrorLaw.from_json(values["error_law"])
        return Choice(weights, dict(values["scores"]), int(values["hidden_slices"]), str(values["note"]), learned, law)


def _try_all(
    observation: Observation, config: AutoPriorConfig, seed: int, on_progress: OnProgress | None, state: PriorState
) -> Choice:
    hidden = hide_slices(observation, config.trial_slices, config.trial_pixels)
    if hidden is None:
        return Choice({"linear+blur": 1.0}, note="too few slices to hide any: linear interpolation of blurred slices")
    thinned, truth, depths = hidden.thinned, hidden.truth, hidden.z_nm

    progress = Progress(on_progress)
    guesses: dict[str, NDArray[np.float32]] = {}
    for name in ("linear", "linear+blur"):
        guesses[name] = _restored(get_prior(name), thinned, depths, seed)
        progress.tell(0.05 * len(guesses), name)
    guesses |= _along_one_flow(thinned, depths, config.learned.device, progress.part(0.1, 0.2, "flow"))
    for name, (one, other) in _MEANS.items():
        guesses[name] = np.float32(0.5) * (guesses[one] + guesses[other])
    scores = {name: mean_score(guess, truth) for name, guess in guesses.items()}
    classical = max(scores, key=lambda name: merit(scores[name]))

    learned = config.learned
    trial = trial_config(learned, config.trial_iterations)
    try:
        ours = restored_by_learning(trial, hidden, seed, progress.part(0.2, 1.0, "self"), state)
    except PriorError as error:
        note = f"{classical} is best on {len(truth)} hidden slices; the self-supervised prior cannot be used: {error}"
        return Choice({classical: 1.0}, scores, len(truth), note)
    mixture, scores["self"] = best_mixture(ours, truth, learned, config.correction_margin)
    guess = ours.mixed(*mixture)
    structure = Structure(truth)
    least = config.least_structure * structure.of(guesses["linear"])
    weight = _self_weight(
        guess, guesses[classical], truth, config.mixing_margin, lambda mixture: structure.of(mixture) >= least
    )
    weights = {name: share for name, share in (("self", weight), (classical, round(1 - weight, 3))) if share > 0}
    named = " + ".join(f"{share:.0%} {name}" if share < 1 else name for name, share in weights.items())
    note = (
        f"chose {named}: on {len(truth)} hidden slices self {scores['self']['psnr']:.2f} dB, "
        f"{classical} {scores[classical]['psnr']:.2f} dB, linear {scores['linear']['psnr']:.2f} dB"
    )
    chosen = replace(learned, correction=mixture[0], carried=mixture[1])
    if chosen.correction < learned.correction and "self" in weights:
        note += f"; {chosen.correction:.0%} of self's correction does better there than {learned.correction:.0%}"
    if chosen.carried < learned.carried and "self" in weights:
        note += "; it does better there without carried slices"
    mixed = np.float32(weight) * guess + np.float32(1 - weight) * guesses[classical]
    law = ours.law(mixed, truth) if weight > 0 else None
    return Choice(weights, scores, len(truth), note, chosen, law)


def _along_one_flow(
    thinned: Observation, depths: NDArray[np.float64], device: str, progress: Progress
) -> dict[str, NDArray[np.float32]]:
    """What the priors ``flow`` and ``flow+blur`` restore; both follow the same flow, which is estimated once."""
    priors = flow_prior(device=device), blurred_flow_prior(device=device)
    flows = priors[0].flows(thinned)
    interpolators = [prior.along(thinned, flows) for prior in priors]
    restored: dict[str, list[NDArray[np.float32]]] = {prior.name: [] for prior in priors}
    # Depth by depth: only the flow of a few gaps is kept.
    for done, depth in enumerate(depths, 1):
        for images, interpolator in zip(restored.values(), interpolators, strict=True):
            images.append(interpolator.at(float(depth)).image)
        progress.tell(done / len(depths))
    return {name: np.stack(images) for name, images in restored.items()}


def _restored(
    prior: Prior,
    thinned: Observation,
    depths: NDArray[np.float64],
    seed: int,
    on_progress: OnProgress | None = None,
) -> NDArray[np.float32]:
    interpolator = prior.prepare(thinned, seed=seed, on_progress=on_progress)
    return np.stack([interpolator.at(float(depth)).image for depth in depths])


def _self_weight(
    learned: NDArray[np.float32],
    classical: NDArray[np.float32],
    truth: NDArray[np.float32],
    margin: float,
    keeps_structure: Callable[[NDArray[np.float32]], bool] = lambda mixture: True,
) -> float:
    """Weight of the learned guess in the best mixture with the classical: 0 or 1 unless mixing is clearly better."""
    mixtures = {w: np.float32(w) * learned + np.float32(1 - w) * classical for w in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)}
    # The less of the learned guess, the more structure: from the first that keeps enough on, all do.
    most = next((w for w, mixture in mixtures.items() if w == 0 or keeps_structure(mixture)), 0.0)
    merits = {w: merit(mean_score(mixture, truth)) for w, mixture in mixtures.items() if w <= most}
    alone = max((w for w in merits if w in (0.0, 1.0)), key=lambda w: (merits[w], w))
    best = max(merits, key=lambda w: (merits[w], -w))
    return best if merits[best] > merits[alone] + margin else alone
