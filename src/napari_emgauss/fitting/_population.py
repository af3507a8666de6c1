"""How many Gaussians there are: when clouds grow and are pruned, in the student and its teacher alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._density import (
    GradientRecord,
    brightest_opacity,
    change_without,
    choose_growth,
    place_children,
    reindex,
    worth_keeping,
)
from napari_emgauss.fitting._optimiser import ModelOptimiser
from napari_emgauss.render import EmgaussModel


class Population:
    """Grows and prunes the clouds of a student, and those of its teacher with them.

    Parameters
    ----------
    student : EmgaussModel
        Whose clouds change.
    config : FitConfig
        Thresholds and the cap.
    rng : Generator
        Of the fit.
    """

    def __init__(self, student: EmgaussModel, config: FitConfig, rng: np.random.Generator) -> None:
        self._student, self._config, self._rng = student, config, rng
        self._half_extent = max(student.size) / 2
        self._caps = [
            max(1, min(config.max_gaussians, round(len(cloud) * config.growth))) for cloud in student.cloud_list
        ]
        self._records = self._fresh_records()

    def _fresh_records(self) -> list[GradientRecord]:
        return [GradientRecord(torch.zeros_like(cloud.opacity_logits.detach())) for cloud in self._student.cloud_list]

    @torch.no_grad()
    def record_gradients(self) -> None:
        """Add up how strongly the last loss pulls at positions: clouds grow where it pulls most."""
        for cloud, record in zip(self._student.cloud_list, self._records, strict=True):
            if cloud.means.grad is not None:
                record.add(cloud.means.grad, self._half_extent)

    @torch.no_grad()
    def grow_and_prune(self, optimiser: ModelOptimiser, teacher: EmgaussModel | None, *, canonical: bool) -> None:
        """Double Gaussians where positions are pulled at, drop transparent ones.

        Parameters
        ----------
        optimiser : ModelOptimiser
            Of the student; its moments follow.
        teacher : EmgaussModel or None
            Follows.
        canonical : bool
            Look at opacities of the canonical clouds only, not at those at each slice.
        """
        student, config = self._student, self._config
        for position, (window, cloud) in enumerate(zip(student.windows, student.cloud_list, strict=True)):
            record = self._records[position]
            if record.count == 0:
                continue
            seen = [] if canonical else [float(t) for t in student.slice_t[window.first : window.last + 1]]
            index, is_new = choose_growth(
                record.mean(),
                brightest_opacity(cloud, seen),
                grow_gradient=config.grow_gradient,
                prune_opacity=config.prune_opacity,
                # A cloud that is not to grow does not fill up again either.
                cap=self._caps[position] if config.growth > 1 else 0,
            )
            if len(index) == len(cloud) and not bool(is_new.any()):
                continue
            reindex(cloud, index, is_new, optimiser)
            place_children(cloud, index, is_new, self._rng)
            if teacher is not None:
                _follow_growth(teacher.cloud_list[position], cloud, index, is_new)
        self._records = self._fresh_records()

    @torch.no_grad()
    def prune_redundant(self, optimiser: ModelOptimiser, teacher: EmgaussModel | None) -> None:
        """Remove Gaussians whose absence hardly changes the images, those that matter least first."""
        student = self._student
        for position, (window, cloud) in enumerate(zip(student.windows, student.cloud_list, strict=True)):
            slices = student.slice_t[window.first : window.last + 1]
            depths = np.sort(np.concatenate([slices, (slices[1:] + slices[:-1]) / 2]))
            change = change_without(cloud, [float(t) for t in depths], self._rng, backend=student.backend)
            index = worth_keeping(change, self._config.prune_error)
            if len(index) == len(cloud):
                continue
            none_new = torch.zeros(len(index), dtype=torch.bool, device=index.device)
            reindex(cloud, index, none_new, optimiser)
            if teacher is not None:
                reindex(teacher.cloud_list[position], index, none_new, None)
        self._records = self._fresh_records()

    def tensors(self) -> dict[str, Tensor]:
        """Sums of gradients for a checkpoint."""
        return {f"gradient/{position}": record.total for position, record in enumerate(self._records)}

    def state(self) -> dict[str, Any]:
        """The rest for a checkpoint, JSON-compatible."""
        return {
            "counts": [len(cloud) for cloud in self._student.cloud_list],
            "caps": self._caps,
            "gradient_counts": [record.count for record in self._records],
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take over what :meth:`tensors` and :meth:`state` gave."""
        self._caps = [int(cap) for cap in state["caps"]]
        self._records = [
            GradientRecord(tensors[f"gradient/{position}"].to(self._student.device).clone(), int(count))
            for position, count in enumerate(state["gradient_counts"])
        ]


@torch.no_grad()
def _follow_growth(teacher: Any, student: Any, index: Tensor, is_new: Tensor) -> None:
    """Change a teacher's cloud as its student's; doubled Gaussians start as they are in the student."""
    reindex(teacher, index, is_new, None)
    doubled = is_new.clone()
    doubled[:-1] |= is_new[1:]
    for name in ("means", "log_scales"):
        getattr(teacher, name).data[doubled] = getattr(student, name).detach()[doubled]
