"""Settings that decide what a model *is*: they are stored in its file and needed to read it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from napari_emgauss._errors import ConfigError

FieldName = Literal["grid", "mlp", "spline"]
FIELD_NAMES: tuple[str, ...] = get_args(FieldName)


# Beyond this a setting is damage, not taste; torch also has no room for numbers of any size.
_LARGEST = 1e6


@dataclass(frozen=True)
class ModelConfig:
    """What a Gaussian model consists of.

    Parameters
    ----------
    field : {"grid", "mlp", "spline"}
        Deformation field: ``mlp`` is the paper's network of position and depth; ``grid`` looks up features on a coarse
        (t, y, x) grid and passes them through a small network; ``spline`` gives every Gaussian its own values at
        knots in t, linear between them.
    channels : int
        Grey channels, 1 to 4.
    dynamic_opacity, dynamic_rotation : bool
        Whether opacity and rotation change over z. In the paper's method, opacity does and rotation does not (its
        ablation table has the other combinations).
    window_slices : int or None
        A stack of more slices than this is cut into depth windows, each with its own cloud; windows overlap by one
        gap, over which they are blended. None: one cloud for the whole stack.
    mlp_width, mlp_layers, mlp_skip, mlp_frequencies : int
        Network of the ``mlp`` field: 8 layers of 256, the input again at layer 4, 10 frequencies for position
        (Deformable 3D Gaussians, section 4).
    mlp_depth_frequencies : int
        Frequencies for depth: also 10 there, for films of hundreds of frames.
    grid_channels : int
        Features per cell of the ``grid`` field.
    grid_cell_pixels : float
        Side of a cell in plane, in pixels.
    knots_per_gap : int
        Knots in t per gap of ``grid`` and ``spline``; every slice is a knot.
    head_width, head_layers : int
        Small network behind the ``grid`` field.
    displacement_pixels : float
        In-plane shift, in pixels, for an output of 1 of the ``grid`` or ``spline`` field.
    softness_pixels : float
        The square of this is added to both variances of every Gaussian, as a blur would: keeps the noise of single
        pixels out. 0 is the paper's covariance.
    thickness_gaps : float
        Thickness of the slices that the model shows, as a share of the distance to the next: each is the mean over it.
        0 shows planes.
    """

    field: FieldName = "grid"
    channels: int = 1
    dynamic_opacity: bool = True
    dynamic_rotation: bool = False
    window_slices: int | None = None
    mlp_width: int = 256
    mlp_layers: int = 8
    mlp_skip: int = 4
    mlp_frequencies: int = 10
    mlp_depth_frequencies: int = 10
    grid_channels: int = 16
    grid_cell_pixels: float = 5.0
    knots_per_gap: int = 1
    head_width: int = 64
    head_layers: int = 2
    displacement_pixels: float = 2.0
    softness_pixels: float = 0.0
    thickness_gaps: float = 0.0

    def __post_init__(self) -> None:
        self._check_types()
        if self.field not in FIELD_NAMES:
            raise ConfigError(f"field is {self.field!r}, but must be one of {', '.join(FIELD_NAMES)}.")
        if not 1 <= self.channels <= 4:
            raise ConfigError(f"channels is {self.channels}, but a model has 1 to 4.")
        if self.window_slices is not None and self.window_slices < 3:
            raise ConfigError(f"window_slices is {self.window_slices}, but a depth window needs at least 3 slices.")
        for name in (
            "mlp_width",
            "mlp_layers",
            "mlp_frequencies",
            "mlp_depth_frequencies",
            "grid_channels",
            "knots_per_gap",
            "head_width",
            "head_layers",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be at least 1.")
        for name, most in (
            ("mlp_layers", 1000),
            ("head_layers", 1000),
            ("knots_per_gap", 1000),
            ("mlp_frequencies", 64),
            ("mlp_depth_frequencies", 64),
        ):
            if getattr(self, name) > most:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be at most {most}.")
        if not self.softness_pixels >= 0:
            raise ConfigError(f"softness_pixels is {self.softness_pixels}, but must not be negative.")
        if not 0 <= self.thickness_gaps <= 1:
            raise ConfigError(f"thickness_gaps is {self.thickness_gaps}, but must be between 0 and 1.")
        if not (self.grid_cell_pixels >= 1 and self.displacement_pixels > 0):
            raise ConfigError("grid_cell_pixels must be at least 1 and displacement_pixels above 0.")

    def _check_types(self) -> None:
        """Settings also come from files, which may hold anything."""
        for item in fields(self):
            value, kind = getattr(self, item.name), str(item.type)
            if kind == "FieldName" or (value is None and "None" in kind):
                continue
            if kind == "bool":
                good = isinstance(value, bool)
            else:
                number = int if kind.startswith("int") else int | float
                good = isinstance(value, number) and not isinstance(value, bool) and abs(value) <= _LARGEST
            if not good:
                raise ConfigError(f"{item.name} is {value!r}, which is not a value ({kind}) that a model can have.")

    def to_dict(self) -> dict[str, Any]:
        """Settings as a JSON-compatible dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> ModelConfig:
        """Settings from :meth:`to_dict`.

        Raises
        ------
        ConfigError
            A setting is unknown or has an impossible value.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(settings) - known)
        if unknown:
            raise ConfigError(f"Unknown model settings: {', '.join(unknown)}.")
        return cls(**settings)
