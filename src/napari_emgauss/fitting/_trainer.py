"""One iteration of the fit after another: depths, losses, teacher, growing. No clock, no files, no messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._errors import FitError
from napari_emgauss._torch import GraphedSteps, PendingLosses, tensor_float32, uploaded
from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._density import (
    GradientRecord,
    brightest_opacity,
    change_without,
    place_children,
    plan,
    reindex,
    worth_keeping,
)
from napari_emgauss.fitting._draw import ShuffleBag
from napari_emgauss.fitting._initialise import initialise
from napari_emgauss.fitting._labels import Labels
from napari_emgauss.fitting._losses import reconstruction_loss
from napari_emgauss.fitting._optimiser import ModelOptimiser
from napari_emgauss.fitting._schedule import Schedule
from napari_emgauss.fitting._supervision import ShiftLearner, SliceSupervision
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
        self.student = student
        self.teacher: EmgaussModel | None = None
        self.config = config
        self.schedule = Schedule(config, len(images))
        self.labels = labels
        self.iteration = 0
        self.loss: float | None = None
        self._pending = PendingLosses[_Origin](student.device, 1 if student.device.type == "cpu" else _LOSSES_AT_ONCE)
        self._resident: dict[str, Tensor] = {}
        self._keeps_labels_there = student.device.type == "cuda"
        self._last = math.nan
        self.rng = np.random.default_rng(config.seed)
        initialise(student, images, config.uniform_share, self.rng)
        self.supervision = SliceSupervision(images, config, student, sound)
        self._shifting = ShiftLearner(self.supervision, student, config) if config.slice_shifts else None
        self._gaps = np.diff(student.slice_t)
        self._real = ShuffleBag(len(images), self.rng)
        self._pseudo = ShuffleBag(len(self._gaps) if labels is None else len(labels), self.rng)
        self._caps = [
            max(1, min(config.max_gaussians, round(len(cloud) * config.growth))) for cloud in student.cloud_list
        ]
        self._graphs = GraphedSteps.on(student.device, self._recording)
        self._optimiser = ModelOptimiser(student, rates_there=self._graphs.active)
        self._records = self._fresh_records()
        self._half_extent = max(student.size) / 2
        self._largest_scale = float(max(student.size))

    @property
    def result(self) -> EmgaussModel:
        """The model to look at: the teacher where there is one."""
        return self.student if self.teacher is None else self.teacher

    def take_labels(self, labels: Labels) -> None:
        """Pseudo-labels that were made after the joint stage, of slices put where they belong."""
        self.labels = labels
        self._resident.clear()
        self._graphs.forget()
        drawn = self._pseudo.state()
        self._pseudo = ShuffleBag(len(labels), self.rng)
        self._pseudo.restore(drawn)  # of a fit that is gone on with; else nothing was drawn yet

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
        now = self.iteration
        stage = self.schedule.stage(now)
        if stage != self.schedule.stage(max(0, now - 1)):
            self._read_losses()
            self.loss = None
        if stage == "teacher-student" and self.teacher is None:
            self.teacher = self.student.snapshot()
            self.teacher.requires_grad_(False)
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
        if self.iteration < self.schedule.density_end and self.iteration % self.schedule.density_interval == 0:
            self._grow_and_prune()
            self._graphs.forget()
        if self.schedule.is_pruning_round(self.iteration):
            self._prune_needless()
            self._graphs.forget()
        if self.finished:
            self._read_losses()
        return self._last

    def _update(self, job: _Job) -> Tensor:
        """Loss, gradients, and what follows from them; nothing but launches."""
        loss = job.loss()
        loss.backward()
        self._record_gradients()
        self._optimiser.step()
        self._keep_in_bounds()
        if self.teacher is not None:
            self._follow()
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
                    "number; try another seed, or lower learning rates."
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
        if self.labels is None:
            depths = self._depths_in_gaps(spread)
            return _Job(lambda: self._pseudo_loss(depths, self._taught(depths), None, weight), None)
        picks = self._label_picks(self.labels, spread)
        depths = [self.student.t_of(float(self.labels.depths.z_nm[pick])) for pick in picks]
        if self._keeps_labels_there and self.labels.images is not None:
            images, confidences = self.labels.images, self.labels.confidences
            settled = weight == self.config.pseudo_weight_end
            return _Job(
                lambda: self._pseudo_loss(depths, *self._resident_targets(images, confidences, picks), weight),
                ("pseudo", *picks) if settled else None,
            )
        image, confidence = self._sent_targets(self.labels, picks)
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
    def _taught(self, depths: list[float]) -> Tensor:
        """The teacher's pictures as labels."""
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

    def _sent_targets(self, labels: Labels, picks: list[int]) -> tuple[Tensor, Tensor | None]:
        """Images and confidences of some labels, brought to the device."""
        device = self.student.device
        found = [labels[pick] for pick in picks]
        image = _with_channels(uploaded(np.stack([label.image for label in found]), device))
        confidences = [label.confidence for label in found]
        if not self.config.confidence_weighting or any(c is None for c in confidences):
            return image, None
        return image, _with_channels(uploaded(np.stack([c for c in confidences if c is not None]), device))

    def _resident_targets(
        self,
        images: NDArray[np.float16],
        confidences: NDArray[np.float16] | None,
        picks: list[int],
    ) -> tuple[Tensor, Tensor | None]:
        """Labels that are kept are brought to the GPU once, in half precision, instead of picture by picture."""
        if not self._resident:
            device = self.student.device
            self._resident["image"] = uploaded(images, device)
            if confidences is not None and self.config.confidence_weighting:
                self._resident["confidence"] = uploaded(confidences, device)
        found = {name: _with_channels(torch.stack([v[k] for k in picks]).float()) for name, v in self._resident.items()}
        return found["image"], found.get("confidence")

    @torch.no_grad()
    def _record_gradients(self) -> None:
        if self.iteration >= self.schedule.density_end:
            return
        for cloud, record in zip(self.student.cloud_list, self._records, strict=True):
            if cloud.means.grad is not None:
                record.add(cloud.means.grad, self._half_extent)

    @torch.no_grad()
    def _keep_in_bounds(self) -> None:
        height, width = self.student.size
        for cloud in self.student.cloud_list:
            cloud.log_scales.clamp_(math.log(_SMALLEST_SCALE), math.log(self._largest_scale))
            cloud.means[:, 0].clamp_(0.0, float(width))
            cloud.means[:, 1].clamp_(0.0, float(height))

    @torch.no_grad()
    def _follow(self) -> None:
        """Teacher = decay · teacher + (1 - decay) · student (paper, section 3)."""
        if self.teacher is None:
            return
        torch._foreach_lerp_(
            list(self.teacher.parameters()), list(self.student.parameters()), 1.0 - self.config.ema_decay
        )

    @torch.no_grad()
    def _grow_and_prune(self) -> None:
        warm = self.schedule.stage(self.iteration) == "warm-up"
        for position, (window, cloud) in enumerate(zip(self.student.windows, self.student.cloud_list, strict=True)):
            record = self._records[position]
            if record.count == 0:
                continue
            seen = [] if warm else [float(t) for t in self.student.slice_t[window.first : window.last + 1]]
            index, is_new = plan(
                record.mean(),
                brightest_opacity(cloud, seen),
                grow_gradient=self.config.grow_gradient,
                prune_opacity=self.config.prune_opacity,
                # A cloud that is not to grow does not fill up again either.
                cap=self._caps[position] if self.config.growth > 1 else 0,
            )
            if len(index) == len(cloud) and not bool(is_new.any()):
                continue
            reindex(cloud, index, is_new, self._optimiser)
            place_children(cloud, index, is_new, self.rng)
            if self.teacher is not None:
                self._teach_newcomers(self.teacher.cloud_list[position], cloud, index, is_new)
        self._records = self._fresh_records()

    @torch.no_grad()
    def _prune_needless(self) -> None:
        """Remove the Gaussians that are missed least, as long as images hardly change."""
        for position, (window, cloud) in enumerate(zip(self.student.windows, self.student.cloud_list, strict=True)):
            slices = self.student.slice_t[window.first : window.last + 1]
            depths = np.sort(np.concatenate([slices, (slices[1:] + slices[:-1]) / 2]))
            change = change_without(cloud, [float(t) for t in depths], self.rng, backend=self.student.backend)
            index = worth_keeping(change, self.config.prune_error)
            if len(index) == len(cloud):
                continue
            none_new = torch.zeros(len(index), dtype=torch.bool, device=index.device)
            reindex(cloud, index, none_new, self._optimiser)
            if self.teacher is not None:
                reindex(self.teacher.cloud_list[position], index, none_new, None)
        self._records = self._fresh_records()

    @staticmethod
    @torch.no_grad()
    def _teach_newcomers(teacher: Any, student: Any, index: Tensor, is_new: Tensor) -> None:
        """Follow the student's change of cloud; doubled Gaussians start as they are in the student."""
        reindex(teacher, index, is_new, None)
        doubled = is_new.clone()
        doubled[:-1] |= is_new[1:]
        for name in ("means", "log_scales"):
            getattr(teacher, name).data[doubled] = getattr(student, name).detach()[doubled]

    def _fresh_records(self) -> list[GradientRecord]:
        return [GradientRecord(torch.zeros_like(cloud.opacity_logits.detach())) for cloud in self.student.cloud_list]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything needed to go on, as tensors and a JSON-compatible dictionary."""
        tensors = {f"student/{name}": value for name, value in self.student.state_dict().items()}
        self._read_losses()
        if self.teacher is not None:
            tensors.update({f"teacher/{name}": value for name, value in self.teacher.state_dict().items()})
        tensors.update({f"adam/{name}": value for name, value in self._optimiser.tensors(self.student).items()})
        for position, record in enumerate(self._records):
            tensors[f"gradient/{position}"] = record.total
        if self._shifting is not None:
            tensors.update({f"shifts/{name}": value for name, value in self._shifting.tensors().items()})
        return tensors, {
            "iteration": self.iteration,
            "loss": self.loss,
            "counts": [len(cloud) for cloud in self.student.cloud_list],
            "caps": self._caps,
            "gradient_counts": [record.count for record in self._records],
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
        self._records = [
            GradientRecord(tensors[f"gradient/{position}"].to(self.student.device).clone(), int(count))
            for position, count in enumerate(state["gradient_counts"])
        ]
        self.iteration = int(state["iteration"])
        self.loss = state["loss"]
        self._caps = [int(cap) for cap in state["caps"]]
        self.rng.bit_generator.state = state["rng"]
        self._real.restore(state["real"])
        self._pseudo.restore(state["pseudo"])


def _with_channels(images: Tensor) -> Tensor:
    """``(B, C, H, W)`` of images that may lack the channel axis."""
    return images if images.ndim == 4 else images[:, None]


@torch.no_grad()
def _load_any_size(model: EmgaussModel, tensors: dict[str, Tensor]) -> None:
    """Load parameters into a model whose clouds may have another number of Gaussians."""
    for name, parameter in model.named_parameters():
        parameter.data = tensors[name].to(parameter.device).clone()
