"""The fit as a generator: settings and a stack in, messages with a live model out."""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, FitError, ModelFileError, PriorError
from napari_emgauss._progress import OnProgress, ProgressUpdate
from napari_emgauss._rescue import rescued
from napari_emgauss.fitting._background import Background
from napari_emgauss.fitting._checkpoint import Checkpoint, fingerprint, read_checkpoint, write_checkpoint
from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._labels import Labels, label_depths
from napari_emgauss.fitting._presets import preset
from napari_emgauss.fitting._supervision import shift_report
from napari_emgauss.fitting._trainer import Trainer
from napari_emgauss.fitting._update import FitUpdate
from napari_emgauss.model import PLANES_PER_GAP, Confidence, chosen_depths, coarse_confidence, fewest_gaussians
from napari_emgauss.priors import FIT_ONLY, Prior, prepare_channels, prior_of_fit
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import Stack

Path = str | os.PathLike[str]

_REPORT_INTERVAL_S = 0.2
# A machine that goes down costs no more than this much of a fit.
_CHECKPOINT_INTERVAL_S = 120.0


def fit(
    stack: Stack,
    config: FitConfig | None = None,
    *,
    resume: Path | None = None,
    checkpoint: Path | None = None,
    prior: Prior | None = None,
) -> Iterator[FitUpdate]:
    """Fit Gaussians to a stack.

    Nothing happens before the first ``next()`` except that settings and checkpoint are looked at. The caller pauses by
    not asking for the next message, and stops by closing the generator.

    Parameters
    ----------
    stack : Stack
        What to fit.
    config : FitConfig, optional
        Settings; by default those of ``resume``, or the preset ``default``.
    resume : path, optional
        A checkpoint to go on from: with the same stack and seed the result is that of an uninterrupted fit.
    checkpoint : path, optional
        Where to keep the state: written every two minutes and when the fit is closed or interrupted. One written on
        the way is removed when the caller asks for more after the last message: save the result before that, and it
        is never lost. One that cannot be written on the way is told as a text that begins with "Warning".
    prior : Prior, optional
        What makes the pseudo-labels, in place of ``config.prior``.

    Yields
    ------
    FitUpdate
        About five times a second. ``model`` is one object throughout, which changes as the fit goes on; the last
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
                "resume it with its own, or start anew."
            )
        config = saved.config
    settings = preset("default") if config is None else config
    chosen = prior if prior is not None else _named_prior(settings)
    return _Fit(stack, settings, chosen, saved, checkpoint).run()


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


def _save_somewhere(checkpoint: Path, save: Callable[[Path], None]) -> None:
    """Keep the state of a fit that ends early: in its place, else in another.

    Raises
    ------
    FitError
        It is in another place, which is named; or nowhere.
    """
    try:
        save(checkpoint)
    except ModelFileError as error:
        place = rescued(checkpoint, save)
        kept = "is lost" if place is None else f"is kept in '{place}' instead: resume it from there"
        raise FitError(f"{error} The state of the fit {kept}.") from error


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
    prior: Prior | None
    saved: Checkpoint | None
    checkpoint: Path | None
    _started: float = field(default=0.0, init=False)
    _elapsed_before: float = field(default=0.0, init=False)
    _wrote: bool = field(default=False, init=False)  # a checkpoint, on the way

    def run(self) -> Iterator[FitUpdate]:
        self._started = time.monotonic()
        images = self.stack.unit_slices()
        sound = self.stack.sound_pixels()
        stack_id = fingerprint(images, self.stack.z_nm, sound)
        if self.saved is not None:
            if self.saved.stack != stack_id:
                raise ConfigError("The checkpoint belongs to another stack: its slices or depths differ from this one.")
            self._elapsed_before = self.saved.elapsed_s
        provenance = self._provenance()
        counts = None if self.saved is None else self.saved.state["counts"]
        student = self._new_model(images, counts)
        shown = self._new_model(images, counts)
        shown.provenance = provenance
        labels: Labels | None = None
        if self._needs_labels():
            labels = self._saved_labels()
            if labels is not None and self.saved is not None:
                provenance.update(self.saved.provenance)
                shown.confidence = self._confidence(labels)
            elif not self.config.slice_shifts:
                labels = yield from self._ask_prior(images, shown, 0)
        trainer = Trainer(student, images, self.config, labels, sound)
        if self.saved is not None:
            trainer.restore(self.saved.tensors, self.saved.state)
            self.saved = None  # its tensors are as large as the model; nobody needs them any more
        if self._needs_labels() and labels is None:
            # A prior must see the slices where they belong, so it waits until the joint stage knows.
            yield from self._iterate(trainer, shown, None, stack_id, until=trainer.schedule.joint_end)
            labels = yield from self._ask_prior(self._put_in_place(images, trainer), shown, trainer.iteration)
            trainer.take_labels(labels)
        yield from self._iterate(trainer, shown, labels, stack_id)

    def _ask_prior(
        self, images: NDArray[np.float32], shown: EmgaussModel, iteration: int
    ) -> Generator[FitUpdate, None, Labels]:
        """Prepare the prior on ``images`` and collect its labels, telling about it."""
        began = time.monotonic()
        work = Background[ProgressUpdate, tuple[Labels, dict[str, Any]]](self._label_work(images))
        latest: ProgressUpdate | None = None
        with contextlib.closing(work.messages(_REPORT_INTERVAL_S)) as messages:
            for message in messages:
                latest = message or latest  # a silent moment shows what was said last
                yield self._prior_update(latest, shown, iteration)
        labels, shown.provenance["prior"] = work.result
        shown.confidence = self._confidence(labels)
        shown.provenance["prior_s"] = round(time.monotonic() - began, 2)
        return labels

    def _confidence(self, labels: Labels) -> Confidence | None:
        """The prior's confidence at a few depths of every gap; None where it has no opinion of itself."""
        depths = labels.depths.z_nm
        # Where labels are not kept, each is computed anew.
        per_gap = 1 if labels.images is None else PLANES_PER_GAP
        chosen = chosen_depths(self.stack.z_nm, depths, per_gap)
        # Of several channels the mean: there is one map of where to believe the model.
        planes = [
            label.confidence if label.confidence.ndim == 2 else label.confidence.mean(axis=0)
            for label in (labels[k] for k in chosen)
            if label.confidence is not None
        ]
        if not planes or len(planes) < len(chosen):
            return None
        _, height, width = self.stack.shape
        return coarse_confidence(planes, depths[chosen], self.stack.z_nm, self.stack.pixel_size_nm, (height, width))

    @staticmethod
    def _put_in_place(images: NDArray[np.float32], trainer: Trainer) -> NDArray[np.float32]:
        """Slices moved back by the shifts that were learned."""
        from scipy.ndimage import shift

        shifts = trainer.supervision.shifts_px()
        if shifts is None:
            return images
        lead = (0.0,) * (images.ndim - 3)
        moved = [
            shift(image, (*lead, -dy, -dx), order=3, mode="nearest")
            for image, (dy, dx) in zip(images, shifts, strict=True)
        ]
        return np.asarray(moved, dtype=np.float32)

    def _iterate(
        self,
        trainer: Trainer,
        shown: EmgaussModel,
        labels: Labels | None,
        stack_id: str,
        *,
        until: int | None = None,
    ) -> Iterator[FitUpdate]:
        """Iterate to the end, or to iteration ``until``."""
        end = trainer.schedule.total if until is None else until
        began, first = time.monotonic(), trainer.iteration
        reported, text = 0.0, ""
        stage = ""
        saved = began
        keep = self.checkpoint is not None

        def save(path: Path) -> None:
            write_checkpoint(
                path,
                trainer,
                labels,
                stack=stack_id,
                elapsed_s=self._elapsed(),
                provenance=shown.provenance,
            )

        try:
            while trainer.iteration < end:
                if time.monotonic() - reported >= _REPORT_INTERVAL_S:
                    now = trainer.schedule.stage(trainer.iteration)
                    text, stage = (f"{now} from iteration {trainer.iteration}" if now != stage else ""), now
                    shown.publish(trainer.result)
                    yield self._update(trainer, shown, self._eta(trainer, began, first), text)
                    reported = time.monotonic()
                    if self.checkpoint is not None and reported - saved >= _CHECKPOINT_INTERVAL_S:
                        try:
                            save(self.checkpoint)
                            self._wrote = True
                        except ModelFileError as error:
                            # Hours of work are worth more than the way back to them.
                            warning = f"Warning: the state of the fit could not be kept, the fit goes on. {error}"
                            yield self._update(trainer, shown, self._eta(trainer, began, first), warning)
                        saved = time.monotonic()
                trainer.step()
        except FitError:
            keep = False  # a diverged state is not worth going on from
            raise
        finally:
            # A step cut in the middle (Ctrl-C outside the command line's care) leaves a state that is whole enough:
            # finite, and at most one half-applied update.
            if keep and self.checkpoint is not None and trainer.iteration < end:
                _save_somewhere(self.checkpoint, save)
        shown.provenance.update(shift_report(trainer.supervision.shifts_px()))
        if until is not None:
            return
        shown.publish(trainer.result)
        shown.provenance.update(fit_s=round(self._elapsed(), 2), final_loss=trainer.loss)
        yield self._update(trainer, shown, 0.0, "finished", finished=True)
        # Only now: whoever has the last message saves the result before asking for more.
        if self.checkpoint is not None and self._wrote:
            pathlib.Path(self.checkpoint).unlink(missing_ok=True)

    def _new_model(self, images: NDArray[np.float32], counts: list[int] | None) -> EmgaussModel:
        *_, height, width = images.shape
        wanted = min(self.config.max_gaussians, round(height * width / self.config.pixels_per_gaussian))
        number = max(16, fewest_gaussians((height, width)), wanted)
        from napari_emgauss.render import choose_backend

        # The field's random start must not depend on, nor disturb, what the caller does with torch.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return EmgaussModel(
                self.config.for_gaps(self.stack.anisotropy_factor).model_config(self.stack.channels),
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
            "fit": self.config.to_dict(),
            "prior_name": FIT_ONLY if self.prior is None else self.prior.name,
            "napari_emgauss": __version__,
            "torch": str(torch.__version__),
        }

    def _needs_labels(self) -> bool:
        return self.prior is not None and self.config.teacher_student

    def _depths(self) -> Any:
        pixel = float(np.mean(self.stack.pixel_size_nm))
        return label_depths(self.stack.z_nm, pixel, self.config.labels_per_gap)

    def _saved_labels(self) -> Labels | None:
        kept = None if self.saved is None else self.saved.labels()
        return None if kept is None else Labels(self._depths(), None, *kept)

    def _label_work(self, images: NDArray[np.float32]) -> Callable[[OnProgress], tuple[Labels, dict[str, Any]]]:
        prior, config = self.prior, self.config
        if prior is None:
            raise FitError("Pseudo-labels were asked for without a prior.")
        depths = self._depths()
        z_nm, pixel_size_nm = self.stack.z_nm, self.stack.pixel_size_nm

        def work(report: OnProgress) -> tuple[Labels, dict[str, Any]]:
            interpolator = prepare_channels(prior, images, z_nm, pixel_size_nm, seed=config.seed, on_progress=report)
            labels = Labels.collect(
                depths,
                interpolator,
                config.label_memory_mb,
                lambda share: report(ProgressUpdate(1.0, f"Pseudo-labels {share:.0%}")),
            )
            if labels.images is not None and not np.isfinite(labels.images).all():
                raise PriorError(f"The prior {prior.name!r} gave labels that are not numbers; choose another.")
            report_of = getattr(interpolator, "report", None)
            return labels, dict(report_of) if isinstance(report_of, dict) else {"name": prior.name}

        return work

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
