"""Every setting of a fit, in one place: the command line, the plugin and the core all use this class."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from napari_emgauss._errors import ConfigError
from napari_emgauss.fitting._stages import Stages
from napari_emgauss.model import FieldName, ModelConfig, Thickness

SamplingName = Literal["point", "slab"]
SAMPLING_NAMES: tuple[str, ...] = get_args(SamplingName)


@dataclass(frozen=True)
class FitConfig:
    """Settings of a fit. Numbers of iterations are multiplied by ``iterations_scale``.

    Parameters
    ----------
    prior : str
        What makes the pseudo-labels: ``ema`` (the paper's: the teacher itself) or a name from ``prior_names()``.
    iterations_scale : float
        Multiplies every number of iterations: 0.1 for a quick look, 2 if you have more patience.
    seed : int
        The same seed and settings give the same model on the same CPU.
    device : str
        Torch device, or ``auto``.
    warm_up, joint, teacher_student : bool
        Whether the fit has this stage (rows of the paper's ablation table). Without teacher–student, its iterations
        are spent on the observed slices alone, so that the number of iterations stays the same.
    dynamic_opacity, dynamic_rotation : bool
        Whether opacity and rotation change over z (rows of the same table; the paper's method: yes, no).
    warm_up_iterations, joint_iterations : int
        Length of the warm-up and of the joint stage; 2000 and 1000 in the paper.
    teacher_student_iterations : int or None
        Length of the teacher–student stage; 15000 in the paper. None: ``iterations_per_slice`` for every observed
        slice, since a field with knots learns each part of the depth separately.
    iterations_per_slice : float
        Iterations of the teacher–student stage per observed slice, if ``teacher_student_iterations`` is None.
    real_per_pseudo : float
        Iterations on observed slices for each one on pseudo-labels in the teacher–student stage; 1 alternates between
        them, as in the paper.
    depths_per_iteration : int
        Depths rendered in one iteration.
    ema_decay : float
        How much of the teacher stays in each iteration of its running average; 0.995 in the paper.
    pseudo_weight_start, pseudo_weight_end : float
        Weight of the loss on pseudo-labels at the start and the end of the ramp; 0.1 and 1 in the paper.
    pseudo_ramp_iterations : int
        Length of the ramp, during which the depths of pseudo-labels also spread from mid-gap over the whole gap; 7000
        in the paper.
    labels_per_gap : int or None
        Depths per gap for which a prior other than ``ema`` makes pseudo-labels, once, before the fit. None: one per
        pixel size, and three at least.
    label_memory_mb : int
        Pseudo-labels are kept in memory up to this size; beyond it, the prior makes them again whenever needed.
    confidence_weighting : bool
        Weight the loss on pseudo-labels, pixel by pixel, by the prior's confidence, if it has one.
    dssim_weight : float
        Share of D-SSIM in the loss on observed slices; 0.2 (3D Gaussian splatting, section 7).
    pseudo_dssim_weight : float
        The same for pseudo-labels.
    charbonnier_epsilon, pseudo_charbonnier_epsilon : float
        0 is the paper's L1. Otherwise, differences below this (unit range) count squared, which suits pseudo-labels
        that are means.
    depth_noise : float
        Standard deviation of the noise on t at the start of the joint stage, in gaps; it falls to 0 linearly
        (Deformable 3D Gaussians, section 4.2).
    depth_noise_iterations : int
        Iterations of the joint and teacher–student stages after which the noise is gone.
    position_lr_start, position_lr_end : float
        Learning rate of the positions, as a share of the larger image side (3D Gaussian splatting: 1.6e-4, 1.6e-6).
    field_lr_start, field_lr_end : float
        Learning rate of the deformation network (Deformable 3D Gaussians: 8e-4, 1.6e-6).
    knot_lr_start, knot_lr_end : float
        Learning rate of the knots of ``grid`` and ``spline`` fields.
    value_lr, opacity_lr, scale_lr, rotation_lr : float
        Learning rates of grey values, opacities, log-scales and rotations.
    lr_end : float
        Factor by which a cosine lowers these four learning rates until the end; 1 keeps them constant, as in the
        method that the paper builds on.
    sampling : {"point", "slab"}
        What a slice is: the tissue at its depth (thin sections), or its mean over the slice's thickness (optical
        sections, CT and MRI with thick slices).
    slab_fraction : float
        With ``slab``: thickness of a slice, as a share of the distance to the next.
    slab_samples : int
        With ``slab``: depths rendered for each slice (Gauss–Legendre rule).
    shown_thickness : float
        Thickness of the slices that the model shows, as a share of the distance to the next. 0 shows planes: with
        ``slab`` they are finer than the slices of the stack. With the value of ``slab_fraction`` they are like these.
    slice_shifts : bool
        Learn a small in-plane translation of every slice in the joint stage, for slices that are not quite aligned.
        The model shows all slices in one frame; its provenance records the translations.
    slice_shift_iterations : float
        With ``slice_shifts``: iterations of the joint stage per slice, if ``joint_iterations`` are fewer.
    slice_shift_penalty : float
        Draws the shifts towards zero: added to the loss, per square pixel.
    pixels_per_gaussian : float
        Pixels of a slice per Gaussian: sets the number of Gaussians at the start.
    max_gaussians : int
        Most Gaussians in a depth window.
    growth : float
        Most Gaussians as a multiple of the number at the start; with 1, the number never grows.
    grow_gradient : float
        Gaussians whose mean positional gradient (loss per half image side) is above this are split or cloned.
    density_interval, density_iterations : int
        Gaussians are added and pruned every ``density_interval`` iterations, for the first ``density_iterations``.
    prune_opacity : float
        Gaussians that have nowhere been more opaque than this since the last pruning are removed.
    prune_error : float
        How much (root mean square, unit range) each of eight rounds of pruning may change the images: the least needed
        Gaussians are removed up to that point. How many remain depends on the content: a denoised stack needs fewer.
        0 keeps all.
    uniform_share : float
        Share of Gaussians that start anywhere; the others start where the image gradient is large.
    knots_per_gap : int or None
        See :class:`~napari_emgauss.model.ModelConfig`. None: more for wider gaps, see :meth:`for_stack`.
    mlp_depth_frequencies : int or None
        See :class:`~napari_emgauss.model.ModelConfig`. None: as many as the slices can carry, see :meth:`for_stack`.
    field, window_slices, grid_channels, grid_cell_pixels, head_width, head_layers, mlp_width, mlp_layers, \
displacement_pixels, softness_pixels
        See :class:`~napari_emgauss.model.ModelConfig`.
    """

    prior: str = "auto"
    iterations_scale: float = 1.0
    seed: int = 0
    device: str = "auto"
    # stages
    warm_up: bool = True
    joint: bool = True
    teacher_student: bool = True
    dynamic_opacity: bool = True
    dynamic_rotation: bool = False
    warm_up_iterations: int = 2000
    joint_iterations: int = 1000
    teacher_student_iterations: int | None = 15000
    iterations_per_slice: float = 300.0
    real_per_pseudo: float = 1.0
    depths_per_iteration: int = 1
    # teacher and pseudo-labels
    ema_decay: float = 0.995
    pseudo_weight_start: float = 0.1
    pseudo_weight_end: float = 1.0
    pseudo_ramp_iterations: int = 7000
    labels_per_gap: int | None = None
    label_memory_mb: int = 1024
    confidence_weighting: bool = True
    # loss
    dssim_weight: float = 0.2
    pseudo_dssim_weight: float = 0.0
    charbonnier_epsilon: float = 0.0
    pseudo_charbonnier_epsilon: float = 0.0
    depth_noise: float = 0.2
    depth_noise_iterations: int = 5000
    # slices as they are
    sampling: SamplingName = "point"
    slab_fraction: float = 1.0
    slab_samples: int = 3
    shown_thickness: float = 0.0
    slice_shifts: bool = False
    slice_shift_iterations: float = 30.0
    slice_shift_penalty: float = 1e-3
    # learning rates
    position_lr_start: float = 1.6e-4
    position_lr_end: float = 1.6e-6
    field_lr_start: float = 8e-4
    field_lr_end: float = 1.6e-6
    knot_lr_start: float = 1e-2
    knot_lr_end: float = 1e-3
    value_lr: float = 2.5e-3
    opacity_lr: float = 5e-2
    scale_lr: float = 5e-3
    rotation_lr: float = 1e-3
    lr_end: float = 1.0
    # number of Gaussians
    pixels_per_gaussian: float = 8.0
    max_gaussians: int = 200_000
    growth: float = 2.0
    grow_gradient: float = 2e-4
    density_interval: int = 100
    density_iterations: int = 10_000
    prune_opacity: float = 0.005
    prune_error: float = 0.0
    uniform_share: float = 0.3
    # model
    field: FieldName = "grid"
    window_slices: int | None = None
    grid_channels: int = 16
    grid_cell_pixels: float = 5.0
    knots_per_gap: int | None = 1
    head_width: int = 64
    head_layers: int = 2
    mlp_width: int = 256
    mlp_layers: int = 8
    mlp_depth_frequencies: int | None = 10
    displacement_pixels: float = 2.0
    softness_pixels: float = 0.0

    def __post_init__(self) -> None:
        self._check_types()
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be above 0.")
        for name, most in _MOST.items():
            if (getattr(self, name) or 0) > most:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be at most {most}.")
        if self.pixels_per_gaussian < _FEWEST_PIXELS:
            raise ConfigError(
                f"pixels_per_gaussian is {self.pixels_per_gaussian}, but must be at least {_FEWEST_PIXELS}."
            )
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must not be negative.")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be between 0 and 1.")
        if self.ema_decay >= 1:
            raise ConfigError(f"ema_decay is {self.ema_decay}, but must be below 1 or the teacher never learns.")
        if self.growth < 1:
            raise ConfigError(f"growth is {self.growth}, but must be at least 1.")
        if self.teacher_student_iterations is not None and self.teacher_student_iterations < 0:
            raise ConfigError(
                f"teacher_student_iterations is {self.teacher_student_iterations}, but must not be negative."
            )
        if self.labels_per_gap is not None and self.labels_per_gap < 1:
            raise ConfigError(f"labels_per_gap is {self.labels_per_gap}, but must be at least 1.")
        if not (self.warm_up or self.joint or self.teacher_student):
            raise ConfigError("At least one of warm_up, joint and teacher_student must be on.")
        if self.sampling not in SAMPLING_NAMES:
            raise ConfigError(f"sampling is {self.sampling!r}, but must be one of {', '.join(SAMPLING_NAMES)}.")
        if not 0 < self.slab_fraction <= 1:
            raise ConfigError(
                f"slab_fraction is {self.slab_fraction}, but must be above 0 and at most 1, in gaps between slices."
            )
        if not 2 <= self.slab_samples <= 9:
            raise ConfigError(f"slab_samples is {self.slab_samples}, but must be between 2 and 9.")
        if self.slice_shifts and not self.joint:
            raise ConfigError("slice_shifts are learned in the joint stage, which is off: turn joint on.")
        self.for_stack(2, 1.0).model_config()

    def _check_types(self) -> None:
        """Settings also come from command lines and files: a number must be a number there, too."""
        for item in fields(self):
            value, kind = getattr(self, item.name), str(item.type)
            if value is None and "None" in kind:
                continue
            if kind == "bool":
                good = isinstance(value, bool)
            elif kind.startswith("int"):  # "int" and "int | None"
                good = isinstance(value, int) and not isinstance(value, bool)
            elif kind == "float":
                good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            else:
                good = isinstance(value, str)
            if good and kind.startswith(("int", "float")) and abs(value) > _LARGEST and item.name != "seed":
                raise ConfigError(f"{item.name} is {value:.6g}, but must be at most {_LARGEST:.0e}.")
            if not good:
                wanted = {"bool": "true or false", "float": "a finite number", "str": "a name"}.get(
                    kind, "a whole number" if kind.startswith("int") else "a name"
                )
                raise ConfigError(f"{item.name} is {value!r}, but must be {wanted}.")

    def model_config(self, channels: int = 1) -> ModelConfig:
        """The part of the settings that decides what the model is, of settings that are settled (`for_stack`)."""
        if self.knots_per_gap is None or self.mlp_depth_frequencies is None:
            raise ConfigError("Some settings depend on the stack and are not settled: call for_stack first.")
        return ModelConfig(
            field=self.field,
            channels=channels,
            dynamic_opacity=self.dynamic_opacity,
            dynamic_rotation=self.dynamic_rotation,
            window_slices=self.window_slices,
            grid_channels=self.grid_channels,
            grid_cell_pixels=self.grid_cell_pixels,
            knots_per_gap=self.knots_per_gap,
            head_width=self.head_width,
            head_layers=self.head_layers,
            mlp_width=self.mlp_width,
            mlp_layers=self.mlp_layers,
            mlp_depth_frequencies=self.mlp_depth_frequencies,
            displacement_pixels=self.displacement_pixels,
            softness_pixels=self.softness_pixels,
            thickness_gaps=self.shown_thickness,
        )

    @property
    def slice_thickness(self) -> Thickness:
        """What the slices of the stack are taken for."""
        return Thickness(0.0 if self.sampling == "point" else self.slab_fraction, self.slab_samples)

    def for_stack(self, slices: int, gap_pixels: float) -> FitConfig:
        """Settings with nothing left open for a stack of so many slices, typically so many pixels apart.

        What lies between two knots is straight in every parameter of a Gaussian; over a dozen pixels tissue is not.
        And K slices, which lie 2/(K-1) apart in the network's depth of [-1, 1], carry frequencies below (K-1)/4 (the
        sampling theorem): of sin(2^k π x), those with 2^k < (K-1)/2. What a faster one does between slices, no slice
        decides.
        """
        knots, frequencies = self.knots_per_gap, self.mlp_depth_frequencies
        if knots is not None and frequencies is not None:
            return self
        if knots is None:
            knots = min(max(_LEAST_KNOTS, round(gap_pixels / _PIXELS_PER_KNOT)), _MOST_KNOTS)
        if frequencies is None:
            frequencies = max(1, math.ceil(math.log2(max(1.0, (slices - 1) / 2))))
        return replace(self, knots_per_gap=knots, mlp_depth_frequencies=frequencies)

    def scaled(self, iterations: float) -> int:
        """A count of iterations with ``iterations_scale`` applied."""
        return math.ceil(iterations * self.iterations_scale)

    def stages(self, slices: int) -> Stages:
        """Where the stages end for a stack of so many slices."""
        warm_up_end = self.scaled(self.warm_up_iterations) if self.warm_up else 0
        joint = self.scaled(self.joint_iterations) if self.joint else 0
        if self.joint and self.slice_shifts:
            joint = max(joint, self.scaled(self.slice_shift_iterations * slices))
        fixed = self.teacher_student_iterations
        teacher_student = self.scaled(self.iterations_per_slice * slices if fixed is None else fixed)
        joint_end = warm_up_end + joint
        return Stages(warm_up_end, joint_end, max(1, joint_end + teacher_student))

    def total_iterations(self, slices: int) -> int:
        """Iterations of all stages for a stack of so many slices, ``iterations_scale`` included."""
        return self.stages(slices).total

    def to_dict(self) -> dict[str, Any]:
        """Settings as a JSON-compatible dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> FitConfig:
        """Settings from :meth:`to_dict`.

        Raises
        ------
        ConfigError
            A setting is unknown or has an impossible value.
        """
        check_names(settings)
        return cls(**settings)


_LEAST_KNOTS, _MOST_KNOTS = 2, 8
_PIXELS_PER_KNOT = 5.5
"""Gaps of 22 pixels lose to their labels with 2 knots, not with 4; gaps of 8 pixels need no more than 2."""

StageKey = Literal["warm_up", "joint", "teacher_student"]

_POSITIVE = (
    "iterations_scale",
    "iterations_per_slice",
    "real_per_pseudo",
    "depths_per_iteration",
    "label_memory_mb",
    "position_lr_start",
    "position_lr_end",
    "field_lr_start",
    "field_lr_end",
    "knot_lr_start",
    "knot_lr_end",
    "value_lr",
    "opacity_lr",
    "scale_lr",
    "rotation_lr",
    "lr_end",
    "pixels_per_gaussian",
    "max_gaussians",
    "density_interval",
    "slice_shift_iterations",
)
_MOST = {"labels_per_gap": 1000, "depths_per_iteration": 256, "max_gaussians": 10**9}
_FEWEST_PIXELS = 0.1
_LARGEST = 10**12
"""Beyond this a number is damage, not taste."""

_NOT_NEGATIVE = (
    "seed",
    "warm_up_iterations",
    "joint_iterations",
    "pseudo_weight_start",
    "pseudo_weight_end",
    "pseudo_ramp_iterations",
    "charbonnier_epsilon",
    "pseudo_charbonnier_epsilon",
    "depth_noise",
    "depth_noise_iterations",
    "grow_gradient",
    "density_iterations",
    "slice_shift_penalty",
    "prune_error",
)
_SHARES = ("ema_decay", "dssim_weight", "pseudo_dssim_weight", "prune_opacity", "uniform_share", "shown_thickness")


def check_names(settings: dict[str, Any]) -> None:
    """Refuse settings that do not exist, with the nearest that does.

    Raises
    ------
    ConfigError
        A name is unknown.
    """
    from difflib import get_close_matches

    known = [item.name for item in fields(FitConfig)]
    for name in settings:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f": choose from {', '.join(known)}."
            raise ConfigError(f"There is no setting {name!r}{hint}")
