"""One iteration of the fit after another: depths, losses, teacher, growing. No clock, no files, no messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._errors import FitError
from napari_emgauss._torch import GraphedSteps, PendingLosses, tensor_float32, torch_held_back
from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._draw import ShuffleBag
from napari_emgauss.fitting._initialise import initialise
from napari_emgauss.fitting._label_targets import LabelTargets
from napari_emgauss.fitting._labels import Labels
from napari_emgauss.fitting._losses import reconstruction_loss
from napari_emgauss.fitting._optimiser import ModelOptimiser
from napari_emgauss.fitting._population import Population
from napari_emgauss.fitting._schedule import Schedule
from napari_emgauss.fitting._supervision import ShiftLearner, SliceSupervision
from napari_emgauss.fitting._update import StageName
from napari_emgauss.render import EmgaussModel

# Beyond these a splat is a point or the whole image, and its gradient is of no use.
_SMALLEST_SCALE = 0.25
_LOSS_MEMORY = 0.98
# Reading a loss from a GPU waits for all that was launched before it: losses are fetched together, this many at a time.
_LOSSES_AT_ONCE = 16


class _Origin(NamedTuple):
    """Where a loss comes from."""

    iteration: int
    stage: str
    pseudo: bool


class _Job(NamedTuple):
    """What an iteration works on; ``key`` is None where no other iteration launches the same work."""

    loss: Callable[[], Tensor]
    key: Hashable | None


class Trainer:
    """Student, teacher, optimiser and randomness of one fit.

    Parameters
    ----------
    student : EmgaussModel
        A fresh model; it is initialised here.
    images : ndarray
        ``(K, H, W)`` or ``(K, C, H, W)`` observed slices, unit range.
    config : FitConfig
        Settings.
    labels : Labels or None
        Pseudo-labels; None where the teacher makes them (``prior="ema"``) or there are none.
    sound : ndarray, optional
        ``(K, H, W)`` bool: pixels that may supervise; None for all.

    Attributes
    ----------
    iteration : int
        Iterations done.
    teacher : EmgaussModel or None
        Moving average of the student, from the teacher-student stage on.
    loss : float or None
        Smoothed loss on real slices of the present stage.
    """

    def __init__(
        self,
        student: EmgaussModel,
        images: NDArray[np.float32],
        config: FitConfig,
        labels: Labels | None,
        sound: NDArray[np.bool_] | None = None,
    ) -> None:
        self.student, self.config = student, config
        self.teacher: EmgaussModel | None = None
        self.schedule = Schedule(config, len(images))
        self.iteration = 0
        self.loss: float | None = None
        self.rng = np.random.default_rng(config.seed)
        initialise(student, images, config.uniform_share, self.rng)
        self.supervision = SliceSupervision(images, config, student, sound)
        self._shifting = ShiftLearner(self.supervision, student, config) if config.slice_shifts else None
        self._gaps = np.diff(student.slice_t)
        self._real = ShuffleBag(len(images), self.rng)
        self._pseudo = ShuffleBag(len(self._gaps) if labels is None else len(labels), self.rng)
        self._targets = None if labels is None else self._targets_of(labels)
        self._population = Population(student, config, self.rng)
        self._largest_scale = float(max(student.size))
        self._graphs = GraphedSteps.on(student.device, self._recording)
        self._optimiser = ModelOptimiser(student, rates_on_device=self._graphs.active)
        self._pending = PendingLosses[_Origin](student.device, 1 if student.device.type == "cpu" else _LOSSES_AT_ONCE)
        self._last = math.nan
        # On a CPU, where a spline leaves torch little but pictures to work on; networks are worth its threads.
        light = config.field == "spline" and student.device.type == "cpu"
        planes = config.depths_per_iteration * len(config.slice_thickness.weights)
        self._pixels = planes * math.prod(student.size) if light else None

    @property
    def result(self) -> EmgaussModel:
        """The model to look at: the teacher where there is one."""
        return self.student if self.teacher is None else self.teacher

    def take_labels(self, labels: Labels) -> None:
        """Pseudo-labels that were made after the joint stage, of slices put where they belong."""
        self._targets = self._targets_of(labels)
        self._graphs.forget()
        drawn = self._pseudo.state()
        self._pseudo = ShuffleBag(len(labels), self.rng)
        self._pseudo.restore(drawn)  # of a fit that is gone on with; else nothing was drawn yet

    def _targets_of(self, labels: Labels) -> LabelTargets:
        return LabelTargets(labels, self.student.device, with_confidence=self.config.confidence_weighting)

    @property
    def finished(self) -> bool:
        """Whether all iterations are done."""
        return self.iteration >= self.schedule.total

    def step(self) -> float:
        """One iteration.

        Returns
        -------
        float
            Its loss, with the pseudo-loss's weight in it; on a GPU that of the last iteration whose loss was fetched,
            NaN before the first.

        Raises
        ------
        FitError
            A loss is not finite.
        """
        with nullcontext() if self._pixels is None else torch_held_back(self._pixels):
            return self._step()

    def _step(self) -> float:
        now = self.iteration
        stage = self.schedule.stage(now)
        self._begin(stage, now)
        pseudo = self.schedule.is_pseudo(now)
        job = self._pseudo_job(now) if pseudo else self._real_job(now, deform=stage != "warm-up")
        extent = float(max(self.student.size))
        self._optimiser.set_learning_rates(self.schedule.learning_rates(now, extent))
        # What a round of growing replaces cannot be in a recording.
        key = job.key if now >= self.schedule.density_end else None
        with tensor_float32(self.student.device):
            loss = self._graphs.run(None if key is None else (stage, key), lambda: self._update(job), job.loss)
        self._take_losses(self._pending.add(loss, _Origin(now, stage, pseudo)))
        if self._shifting is not None and stage == "joint":
            self._shifting.step(self._real.last, self.schedule.shift_rate(now))
        self.iteration += 1
        if self._shifting is not None and self.iteration == self.schedule.joint_end:
            self._shifting.settle()
        self._change_population()
        if self.finished:
            self._read_losses()
        return self._last

    def _begin(self, stage: StageName, now: int) -> None:
        """What the first iteration of a stage finds changed."""
        if stage != self.schedule.stage(max(0, now - 1)):
            self._read_losses()
            self.loss = None
        if stage == "teacher-student" and self.teacher is None:
            self.teacher = self.student.snapshot()
            self.teacher.requires_grad_(False)

    def _change_population(self) -> None:
        """Grow and prune, where it is time for that."""
        schedule, now = self.schedule, self.iteration
        if now < schedule.density_end and now % schedule.density_interval == 0:
            warm = schedule.stage(now) == "warm-up"
            self._population.grow_and_prune(self._optimiser, self.teacher, canonical=warm)
            self._graphs.forget()
        if schedule.is_pruning_round(now):
            self._population.prune_redundant(self._optimiser, self.teacher)
            self._graphs.forget()

    def _update(self, job: _Job) -> Tensor:
        """Loss, gradients, and what follows from them; nothing but launches."""
        loss = job.loss()
        loss.backward()
        if self.iteration < self.schedule.density_end:
            self._population.record_gradients()
        self._optimiser.step()
        self._keep_in_bounds()
        if self.teacher is not None:
            self._update_teacher()
        return loss.detach()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """While an iteration is recorded; gradients that are left lie in the recording's memory."""
        with self._optimiser.recording():
            try:
                yield
            finally:
                self.student.zero_grad(set_to_none=True)

    def _read_losses(self) -> None:
        """Fetch all losses that were not fetched yet."""
        self._take_losses(self._pending.rest())

    def _take_losses(self, known: list[tuple[_Origin, float]]) -> None:
        """Smooth losses into ``loss``."""
        for origin, value in known:
            if not math.isfinite(value):
                raise FitError(
                    f"The fit diverged in iteration {origin.iteration + 1} ({origin.stage}): the loss is no longer a "
                    "number: try another seed or lower learning rates."
                )
            if not origin.pseudo:
                self.loss = value if self.loss is None else _LOSS_MEMORY * self.loss + (1 - _LOSS_MEMORY) * value
            self._last = value

    def _real_job(self, now: int, *, deform: bool) -> _Job:
        picks = [self._real.draw() for _ in range(self.config.depths_per_iteration)]
        noise = self.schedule.depth_noise(now)
        depths = [self._noisy(k, noise) for k in picks]
        # Noisy depths are new each time, and learned shifts move with every iteration.
        repeats = noise == 0.0 and self._shifting is None
        return _Job(
            lambda: self.supervision.loss(self.student, picks, depths, deform=deform),
            ("real", deform, *picks) if repeats else None,
        )

    def _noisy(self, index: int, noise: float) -> float:
        t = float(self.student.slice_t[index])
        if noise == 0.0:
            return t
        draw = float(self.rng.standard_normal())
        gap = self._gaps[min(index, len(self._gaps) - 1)] if draw > 0 else self._gaps[max(index - 1, 0)]
        return min(max(t + noise * draw * float(gap), 0.0), 1.0)

    def _pseudo_job(self, now: int) -> _Job:
        weight = self.schedule.pseudo_weight(now)
        spread = self.schedule.pseudo_spread(now)
        targets = self._targets
        if targets is None:
            depths = self._depths_in_gaps(spread)
            return _Job(lambda: self._pseudo_loss(depths, self._teacher_images(depths), None, weight), None)
        picks = self._label_picks(targets.labels, spread)
        depths = [self.student.t_of(float(targets.labels.depths.z_nm[pick])) for pick in picks]
        if targets.on_device:
            settled = weight == self.config.pseudo_weight_end
            return _Job(
                lambda: self._pseudo_loss(depths, *targets.at(picks), weight), ("pseudo", *picks) if settled else None
            )
        image, confidence = targets.at(picks)
        return _Job(lambda: self._pseudo_loss(depths, image, confidence, weight), None)

    def _pseudo_loss(self, depths: list[float], target: Tensor, confidence: Tensor | None, weight: float) -> Tensor:
        # A prior that saw slabs guesses slabs.
        image = self.supervision.render(self.student, depths)
        loss = reconstruction_loss(
            image,
            target,
            dssim_weight=self.config.pseudo_dssim_weight,
            epsilon=self.config.pseudo_charbonnier_epsilon,
            confidence=confidence,
        )
        return loss * weight

    def _depths_in_gaps(self, spread: float) -> list[float]:
        """Depths in t, each in a gap that is its turn, within ``spread`` of the gap around its middle."""
        depths = []
        for _ in range(self.config.depths_per_iteration):
            gap = self._pseudo.draw()
            share = 0.5 + spread * (float(self.rng.random()) - 0.5)
            depths.append(float(self.student.slice_t[gap] + share * self._gaps[gap]))
        return depths

    @torch.no_grad()
    def _teacher_images(self, depths: list[float]) -> Tensor:
        """What the teacher renders there, as pseudo-labels."""
        if self.teacher is None:
            raise FitError("Pseudo-labels were asked for before there is a teacher.")
        return self.supervision.render(self.teacher, depths)

    def _label_picks(self, labels: Labels, spread: float) -> list[int]:
        """Labels whose turn it is, of those within ``spread`` of their gap."""
        allowed = labels.depths.allowed(spread)
        picks: list[int] = []
        while len(picks) < self.config.depths_per_iteration:
            pick = self._pseudo.draw()
            if allowed[pick]:
                picks.append(pick)
        return picks

    @torch.no_grad()
    def _keep_in_bounds(self) -> None:
        height, width = self.student.size
        for cloud in self.student.cloud_list:
            cloud.log_scales.clamp_(math.log(_SMALLEST_SCALE), math.log(self._largest_scale))
            cloud.means[:, 0].clamp_(0.0, float(width))
            cloud.means[:, 1].clamp_(0.0, float(height))

    @torch.no_grad()
    def _update_teacher(self) -> None:
        """Teacher = decay · teacher + (1 - decay) · student (paper, section 3)."""
        if self.teacher is None:
            return
        torch._foreach_lerp_(
            list(self.teacher.parameters()), list(self.student.parameters()), 1.0 - self.config.ema_decay
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything needed to go on, as tensors and a JSON-compatible dictionary."""
        tensors = {f"student/{name}": value for name, value in self.student.state_dict().items()}
        self._read_losses()
        if self.teacher is not None:
            tensors.update({f"teacher/{name}": value for name, value in self.teacher.state_dict().items()})
        tensors.update({f"adam/{name}": value for name, value in self._optimiser.tensors(self.student).items()})
        tensors.update(self._population.tensors())
        if self._shifting is not None:
            tensors.update({f"shifts/{name}": value for name, value in self._shifting.tensors().items()})
        return tensors, {
            "iteration": self.iteration,
            "loss": self.loss,
            **self._population.state(),
            "rng": self.rng.bit_generator.state,
            "real": self._real.state(),
            "pseudo": self._pseudo.state(),
        }

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

        _load_any_size(self.student, part("student/"))
        teacher = part("teacher/")
        if teacher:
            self.teacher = self.student.snapshot()
            self.teacher.requires_grad_(False)
            _load_any_size(self.teacher, teacher)
        self._optimiser.restore(self.student, part("adam/"))
        if self._shifting is not None:
            self._shifting.restore(part("shifts/"))
        self._population.restore(tensors, state)
        self.iteration = int(state["iteration"])
        self.loss = state["loss"]
        self.rng.bit_generator.state = state["rng"]
        self._real.restore(state["real"])
        self._pseudo.restore(state["pseudo"])


@torch.no_grad()
def _load_any_size(model: EmgaussModel, tensors: dict[str, Tensor]) -> None:
    """Load parameters into a model whose clouds may have another number of Gaussians."""
    for name, parameter in model.named_parameters():
        parameter.data = tensors[name].to(parameter.device).clone()
