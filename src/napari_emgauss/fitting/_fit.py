"""The fit as a generator: settings and a stack in, messages with a live model out."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, EmgaussError, FitError, ModelFileError
from napari_emgauss._progress import ProgressUpdate
from napari_emgauss._rescue import rescued
from napari_emgauss.fitting._background import Background
from napari_emgauss.fitting._checkpoint import Checkpoint, damaged, fingerprint, kept_labels, read_checkpoint
from napari_emgauss.fitting._checkpoint_check import check_checkpoint
from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._error_bars import with_fitted_slices
from napari_emgauss.fitting._keeper import CheckpointKeeper
from napari_emgauss.fitting._labels import Labels
from napari_emgauss.fitting._presets import preset
from napari_emgauss.fitting._prior_stage import PriorStage, depths_of_labels, put_in_place
from napari_emgauss.fitting._supervision import shift_report
from napari_emgauss.fitting._trainer import Trainer
from napari_emgauss.fitting._update import FitUpdate
from napari_emgauss.model import fewest_gaussians
from napari_emgauss.priors import FIT_ONLY, Prior, PriorState, prior_of_fit
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import Stack, record_own_slices
from napari_emgauss.volume import texture_of_fit

Path = str | os.PathLike[str]

_REPORT_INTERVAL_S = 0.2
_OF_PRIOR = ("prior", "prior_s", "prior_learned_before")
"""What the provenance says of the prior; a fit that goes on takes it over."""


def fit(
    stack: Stack,
    config: FitConfig | None = None,
    *,
    resume: Path | None = None,
    checkpoint: Path | None = None,
    prior: Prior | None = None,
    prior_state: PriorState | None = None,
    texture: bool = True,
) -> Iterator[FitUpdate]:
    """Fit Gaussians to a stack.

    Before the first ``next()``, only the settings and the checkpoint are checked. The caller pauses by not asking for
    the next message, and stops by closing the generator, during the prior as at any other time: closing returns once
    the state is on the disk, or raises if it could not be written. It waits for the current step of the prior (up to
    a few seconds) and for the file.

    Parameters
    ----------
    stack : Stack
        What to fit.
    config : FitConfig, optional
        Settings; by default those of ``resume``, or the preset ``default``.
    resume : path, optional
        A checkpoint to continue from, in the prior's training or later: with the same stack and seed on the same CPU,
        the result is that of an uninterrupted fit. Large pseudo-labels are made again from what the prior had learned.
    checkpoint : path, optional
        Where to keep the state: written every two minutes and when the fit is closed or interrupted. A checkpoint
        written on the way is removed when the caller asks for more after the last message: save the result before
        that, and it is never lost. If one cannot be written on the way, a text that begins with "Warning" says so.
    prior : Prior, optional
        What makes the pseudo-labels, in place of ``config.prior``.
    prior_state : PriorState, optional
        What an earlier preparation of the same prior left, of this stack or another part of it: gone on from, and
        left what is learned. What a checkpoint holds takes its place.
    texture : bool
        Measure at the end what the textured look needs: seconds, lost where nobody will look at the model so.

    Yields
    ------
    FitUpdate
        About five times a second. ``model`` is one object throughout, which changes as the fit proceeds; the last
        message has ``finished`` set.

    Raises
    ------
    ConfigError
        Settings that cannot work, or a checkpoint of another stack or with other settings.
    ModelFileError
        ``resume`` is not a checkpoint.
    PriorError, FitError
        While iterating: the prior cannot be prepared, or the fit diverged.
    """
    saved = None if resume is None else read_checkpoint(resume)
    if saved is not None:
        if config is not None and config != saved.config:
            raise ConfigError(
                f"The checkpoint {resume} was made with other settings ({_differences(config, saved.config)}); "
                "resume it with those, or start afresh."
            )
        config = saved.config
    settings = preset("default") if config is None else config
    chosen = prior if prior is not None else _named_prior(settings)
    stage = None
    if chosen is not None and settings.teacher_student:
        state = PriorState() if prior_state is None else prior_state
        if saved is not None:
            state.take_over(saved.prior)
        stage = PriorStage(stack, settings, chosen, state, follows=prior is None)
    return _Fit(stack, settings, stage, saved, resume, CheckpointKeeper(checkpoint), texture).run()


def run_fit(stack: Stack, config: FitConfig | None = None, *, prior: Prior | None = None) -> EmgaussModel:
    """Fit to the end and return the model.

    Parameters and errors are those of :func:`fit`.
    """
    model: EmgaussModel | None = None
    for update in fit(stack, config, prior=prior):
        model = update.model
    if model is None:
        raise FitError("The fit ended without a model.")
    return model


def _differences(one: FitConfig, other: FitConfig) -> str:
    theirs = other.to_dict()
    return ", ".join(f"{name} {theirs[name]!r}" for name, value in one.to_dict().items() if value != theirs[name])


def _named_prior(config: FitConfig) -> Prior | None:
    """The prior that the settings name; None where the teacher makes the labels itself, or none are needed."""
    if config.prior == FIT_ONLY or not config.teacher_student:
        return None
    return prior_of_fit(config.prior, str(config.device))


@dataclass
class _Fit:
    stack: Stack
    config: FitConfig
    prior: PriorStage | None
    saved: Checkpoint | None
    resumed_from: Path | None
    keeper: CheckpointKeeper
    texture: bool
    _started: float = field(default=0.0, init=False)
    _elapsed_before: float = field(default=0.0, init=False)
    _stack_id: str = field(default="", init=False)

    def run(self) -> Iterator[FitUpdate]:
        try:
            yield from self._run()
        finally:
            self.keeper.close()

    def _run(self) -> Iterator[FitUpdate]:
        self._started = time.monotonic()
        images = self.stack.unit_slices()
        sound = self.stack.sound_pixels()
        self._stack_id = fingerprint(images, self.stack.z_nm, sound)
        provenance = self._provenance()
        counts = None
        if self.prior is not None and self.saved is None and self.prior.state.entries():
            provenance["prior_learned_before"] = True
        if self.saved is not None:
            self._check_saved(self.saved)
            self._elapsed_before = self.saved.elapsed_s
            told = self.saved.provenance
            provenance.update({name: told[name] for name in _OF_PRIOR if name in told})
            counts = self.saved.state.get("counts")
        student = self._new_model(images, counts)
        shown = self._new_model(images, counts)
        shown.provenance = provenance
        labels: Labels | None = None
        if self.prior is not None:
            labels = self._saved_labels()
            if labels is not None:
                shown.confidence = self.prior.confidence(labels)
                shown.error_bars = self.prior.error_bars(labels, provenance.get("prior", {}), images)
            elif not self.config.slice_shifts:
                labels = yield from self._ask_prior(self.prior, images, shown, None)
        trainer = Trainer(student, images, self.config, labels, sound)
        if self.saved is not None:
            if self.saved.iterating:
                trainer.restore(self.saved.tensors, self.saved.state)
            self.saved = None  # its tensors are as large as the model; nobody needs them any more
        if self.prior is not None and labels is None:
            # A prior must see the slices where they belong, so it waits until the joint stage knows.
            yield from self._iterate(trainer, shown, images, None, until=trainer.schedule.joint_end)
            moved = put_in_place(images, trainer.supervision.shifts_px())
            labels = yield from self._ask_prior(self.prior, moved, shown, trainer)
            trainer.take_labels(labels)
        yield from self._iterate(trainer, shown, images, labels)

    def _check_saved(self, saved: Checkpoint) -> None:
        if saved.stack != self._stack_id:
            raise ConfigError(
                "The checkpoint belongs to another stack: its slices or depths differ from those of this one."
            )
        count = 0 if self.prior is None else len(self.prior.depths.z_nm)
        try:
            check_checkpoint(saved, self.stack, count)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise damaged(self.resumed_from or "") from error

    def _ask_prior(
        self, stage: PriorStage, images: NDArray[np.float32], shown: EmgaussModel, trainer: Trainer | None
    ) -> Generator[FitUpdate, None, Labels]:
        """Prepare the prior on ``images``, or go on with it, and collect its labels, telling about it."""
        began = time.monotonic()
        before_s = float(shown.provenance.get("prior_s", 0.0))
        iteration = self._iteration(trainer)
        work = Background[ProgressUpdate, tuple[Labels, dict[str, Any]]](stage.work(images))
        latest: ProgressUpdate | None = None

        def state() -> Checkpoint:
            shown.provenance["prior_s"] = round(before_s + time.monotonic() - began, 2)
            return self._state(trainer, None, shown)

        try:
            with contextlib.closing(work.messages(_REPORT_INTERVAL_S)) as messages:
                for message in messages:
                    latest = message or latest  # a silent moment shows what was said last
                    yield self._prior_update(latest, shown, iteration)
                    if self.keeper.due and stage.state.entries():
                        self.keeper.keep(state())
                    if warning := self._warning():
                        yield replace(self._prior_update(latest, shown, iteration), text=warning)
        except EmgaussError:
            raise
        except BaseException:
            # By now the preparation has ended, and has left where it was.
            if stage.state.entries() or iteration > 0:
                self._keep_last(state())
            raise
        labels, shown.provenance["prior"] = work.result
        shown.confidence = stage.confidence(labels)
        shown.error_bars = stage.error_bars(labels, shown.provenance["prior"], images)
        shown.provenance["prior_s"] = round(before_s + time.monotonic() - began, 2)
        return labels

    def _iterate(
        self,
        trainer: Trainer,
        shown: EmgaussModel,
        images: NDArray[np.float32],
        labels: Labels | None,
        *,
        until: int | None = None,
    ) -> Iterator[FitUpdate]:
        """Iterate to the end, or to iteration ``until``."""
        end = trainer.schedule.total if until is None else until
        began, first = time.monotonic(), trainer.iteration
        reported, text = 0.0, ""
        stage = ""
        keep = self.keeper.wanted
        try:
            while trainer.iteration < end:
                if time.monotonic() - reported >= _REPORT_INTERVAL_S:
                    now = trainer.schedule.stage(trainer.iteration)
                    text, stage = (f"{now} from iteration {trainer.iteration}" if now != stage else ""), now
                    shown.publish(trainer.result)
                    yield self._update(trainer, shown, self._eta(trainer, began, first), text)
                    reported = time.monotonic()
                    if self.keeper.due:
                        self.keeper.keep(self._state(trainer, labels, shown))
                    if warning := self._warning():
                        yield self._update(trainer, shown, self._eta(trainer, began, first), warning)
                trainer.step()
        except FitError:
            keep = False  # a diverged state is not worth going on from
            raise
        finally:
            # A step cut in the middle (Ctrl-C outside the command line's care) leaves a state that is whole enough:
            # finite, and at most one half-applied update.
            if keep and trainer.iteration < end:
                self._keep_last(self._state(trainer, labels, shown))
        shown.provenance.update(shift_report(trainer.supervision.shifts_px()))
        if until is not None:
            return
        shown.publish(trainer.result)
        if self.texture:
            shown.provenance["texture"] = texture_of_fit(shown, self.stack)
        if shown.error_bars is not None:
            moved = put_in_place(images, trainer.supervision.shifts_px())
            shown.error_bars = with_fitted_slices(shown.error_bars, shown, moved, self.stack.sound_pixels())
        shown.provenance.update(fit_s=round(self._elapsed(), 2), final_loss=trainer.loss)
        yield self._update(trainer, shown, 0.0, "finished", finished=True)
        # Only now: whoever has the last message saves the result before asking for more.
        self.keeper.remove()

    def _state(self, trainer: Trainer | None, labels: Labels | None, shown: EmgaussModel) -> Checkpoint:
        """The state of the fit now; its tensors go on changing with it."""
        stage = self.prior
        if trainer is not None:
            tensors, numbers = trainer.state()
        elif self.saved is not None and self.saved.iterating:
            tensors, numbers = dict(self.saved.tensors), dict(self.saved.state)
        else:
            tensors, numbers = {}, {"iteration": 0, "prior_fraction": 0.0 if stage is None else stage.fraction}
        kept = kept_labels(labels, follows=stage is not None and stage.follows)
        # What the labels were made from is not needed beside them.
        prior = {} if stage is None or kept else stage.state.entries()
        return Checkpoint(
            self.config, self._stack_id, self._elapsed(), {**tensors, **kept}, numbers, shown.provenance, prior
        )

    def _keep_last(self, state: Checkpoint) -> None:
        """Keep the state of a fit that ends early: in its place, else in another.

        Raises
        ------
        FitError
            It is in another place, which is named; or nowhere.
        """
        if self.keeper.path is None:
            return
        try:
            self.keeper.keep_last(state)
        except ModelFileError as error:
            place = rescued(self.keeper.path, lambda path: self.keeper.keep_last(state, path))
            kept = "is lost" if place is None else f"is kept in '{place}' instead: resume it from there"
            raise FitError(f"{error} The state of the fit {kept}.") from error

    def _warning(self) -> str | None:
        """What to say where the state could not be kept: hours of work are worth more than the way back to them."""
        problem = self.keeper.problem()
        what = "the state of the fit could not be kept; the fit continues"
        return None if problem is None else f"Warning: {what}. {problem}"

    def _iteration(self, trainer: Trainer | None) -> int:
        if trainer is not None:
            return trainer.iteration
        return 0 if self.saved is None else int(self.saved.state["iteration"])

    def _new_model(self, images: NDArray[np.float32], counts: list[int] | None) -> EmgaussModel:
        *_, height, width = images.shape
        wanted = min(self.config.max_gaussians, round(height * width / self.config.pixels_per_gaussian))
        number = max(16, fewest_gaussians((height, width)), wanted)
        from napari_emgauss.render import choose_backend

        # The field's random start must not depend on, nor disturb, what the caller does with torch.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return EmgaussModel(
                self.config.for_stack(self.stack.shape[0], self.stack.anisotropy_factor).model_config(
                    self.stack.channels
                ),
                self.stack.z_nm,
                self.stack.pixel_size_nm,
                (height, width),
                self.stack.normalisation,
                number if counts is None else counts,
                device=choose_backend(self.config.device).device,
            )

    def _provenance(self) -> dict[str, Any]:
        from napari_emgauss import __version__

        return {
            "source": self.stack.source,
            "name": self.stack.name,
            "stack": self.stack.metadata,
            "own_slices": record_own_slices(self.stack).to_json(),
            "fit": self.config.to_dict(),
            "prior_name": FIT_ONLY if self.prior is None else self.prior.prior.name,
            "napari_emgauss": __version__,
            "torch": str(torch.__version__),
        }

    def _saved_labels(self) -> Labels | None:
        kept = None if self.saved is None else self.saved.labels()
        return None if kept is None else Labels(depths_of_labels(self.stack, self.config), None, *kept)

    def _elapsed(self) -> float:
        return self._elapsed_before + time.monotonic() - self._started

    def _eta(self, trainer: Trainer, began: float, first: int) -> float | None:
        done = trainer.iteration - first
        if done < 3:
            return None
        return (time.monotonic() - began) / done * (trainer.schedule.total - trainer.iteration)

    def _prior_update(self, message: ProgressUpdate | None, shown: EmgaussModel, iteration: int) -> FitUpdate:
        return FitUpdate(
            stage="prior",
            iteration=iteration,
            total_iterations=self.config.total_iterations(self.stack.shape[0]),
            loss=None if message is None else message.loss,
            gaussians=shown.gaussian_count,
            elapsed_s=self._elapsed(),
            text="" if message is None else message.text,
            model=shown,
            stage_fraction=None if message is None else message.fraction,
        )

    def _update(
        self, trainer: Trainer, shown: EmgaussModel, eta_s: float | None, text: str, *, finished: bool = False
    ) -> FitUpdate:
        return FitUpdate(
            stage=trainer.schedule.stage(max(0, trainer.iteration - int(finished))),
            iteration=trainer.iteration,
            total_iterations=trainer.schedule.total,
            loss=trainer.loss,
            gaussians=trainer.result.gaussian_count,
            elapsed_s=self._elapsed(),
            eta_s=eta_s,
            text=text,
            model=shown,
            finished=finished,
        )
