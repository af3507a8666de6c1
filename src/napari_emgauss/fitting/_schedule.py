"""What happens at which iteration: stages, ramps, spread of pseudo-depths, noise, learning rates.

Pure functions of the iteration and the settings, so that they can be checked by hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._stages import Stages
from napari_emgauss.fitting._update import StageName

# With prune_error so many rounds of pruning are spread over this part of the fit; in the rest the others settle.
_PRUNING_ROUNDS = 8
_PRUNED_SHARE = 0.8


@dataclass(frozen=True)
class Schedule:
    """Iterations at which stages end, after ``iterations_scale``, for a stack of ``slices``."""

    config: FitConfig
    slices: int

    @cached_property
    def _stages(self) -> Stages:
        return self.config.stages(self.slices)

    @property
    def warm_up_end(self) -> int:
        """First iteration after the warm-up (2000 in the paper)."""
        return self._stages.warm_up_end

    @property
    def joint_end(self) -> int:
        """First iteration of the teacher-student stage (3000 in the paper)."""
        return self._stages.joint_end

    @property
    def total(self) -> int:
        """Iterations of all stages (18000 in the paper)."""
        return self._stages.total

    @property
    def ramp_end(self) -> int:
        """Iteration at which the pseudo-loss has its full weight (10000 in the paper)."""
        return self.joint_end + self.config.scaled(self.config.pseudo_ramp_iterations)

    @property
    def density_end(self) -> int:
        """No growing or pruning from here on."""
        end = self.config.scaled(self.config.density_iterations)
        if self.config.prune_error > 0:
            end = max(end, math.ceil(_PRUNED_SHARE * self.total))
        return end

    def is_pruning_round(self, iteration: int) -> bool:
        """Whether Gaussians that are hardly missed are removed once ``iteration`` iterations are done."""
        if self.config.prune_error <= 0 or iteration <= self.joint_end:
            return False
        end = math.ceil(_PRUNED_SHARE * self.total)
        length = max(1, (end - self.joint_end) // _PRUNING_ROUNDS)
        since = iteration - self.joint_end
        return since % length == 0 and since // length <= _PRUNING_ROUNDS and iteration < end

    @property
    def density_interval(self) -> int:
        """Iterations between two rounds of growing and pruning."""
        return max(1, self.config.scaled(self.config.density_interval))

    def stage(self, iteration: int) -> StageName:
        """Stage of ``iteration`` (counted from 0)."""
        if iteration < self.warm_up_end:
            return "warm-up"
        if iteration < self.joint_end or not self.config.teacher_student:
            return "joint"
        return "teacher-student"

    def is_pseudo(self, iteration: int) -> bool:
        """Whether ``iteration`` works on pseudo-labels. With ``real_per_pseudo`` 1 they alternate, real first."""
        if self.stage(iteration) != "teacher-student":
            return False
        share = 1.0 / (1.0 + self.config.real_per_pseudo)
        n = iteration - self.joint_end
        return math.floor((n + 1) * share + 1e-9) > math.floor(n * share + 1e-9)

    def _ramp(self, iteration: int) -> float:
        length = self.ramp_end - self.joint_end
        return 1.0 if length <= 0 else min(max((iteration - self.joint_end) / length, 0.0), 1.0)

    def pseudo_weight(self, iteration: int) -> float:
        """Weight of the pseudo-loss: linear from 0.1 at iteration 3000 to 1 at 10000 in the paper."""
        start, end = self.config.pseudo_weight_start, self.config.pseudo_weight_end
        return start + (end - start) * self._ramp(iteration)

    def pseudo_spread(self, iteration: int) -> float:
        """Part of the gap, centred on its middle, that pseudo-depths come from: 0 (mid-gap only) to 1 (all of it)."""
        return self._ramp(iteration)

    def depth_noise(self, iteration: int) -> float:
        """Standard deviation of the noise on real depths, in gaps."""
        end = self.config.scaled(self.config.depth_noise_iterations)
        since = iteration - self.warm_up_end
        if since < 0 or since >= end:
            return 0.0
        return self.config.depth_noise * (1.0 - since / end)

    def shift_rate(self, iteration: int) -> float:
        """Pixels by which a slice's shift may change in one step: 0.2, falling to 0.01 over the joint stage."""
        along = (iteration - self.warm_up_end) / max(1, self.joint_end - self.warm_up_end - 1)
        return _log_lerp(0.2, 0.01, min(max(along, 0.0), 1.0))

    def progress(self, iteration: int) -> float:
        """Share of all iterations done."""
        return min(1.0, iteration / max(1, self.total - 1))

    def learning_rates(self, iteration: int, extent: float) -> dict[str, float]:
        """Learning rate of each group of parameters at ``iteration``; ``extent`` is the larger image side in pixels."""
        config = self.config
        along = self.progress(iteration)
        # The field rests during the warm-up; its decay begins after it.
        after = max(0, iteration - self.warm_up_end) / max(1, self.total - 1 - self.warm_up_end)
        cosine = config.lr_end + (1.0 - config.lr_end) * 0.5 * (1.0 + math.cos(math.pi * along))
        return {
            "means": extent * _log_lerp(config.position_lr_start, config.position_lr_end, along),
            "values": config.value_lr * cosine,
            "opacity_logits": config.opacity_lr * cosine,
            "log_scales": config.scale_lr * cosine,
            "rotations": config.rotation_lr * cosine,
            "field": _log_lerp(config.field_lr_start, config.field_lr_end, min(1.0, after)),
            "knots": _log_lerp(config.knot_lr_start, config.knot_lr_end, min(1.0, after)),
        }


def _log_lerp(start: float, end: float, share: float) -> float:
    return math.exp((1.0 - share) * math.log(start) + share * math.log(end))
