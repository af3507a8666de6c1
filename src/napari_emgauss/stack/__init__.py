"""Stacks of slices at physical depths: what they are, how they are read, and a generated sample."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._alignment import AlignmentReport, check_alignment, remove_jitter
    from ._array import stack_from_array
    from ._damage import SliceReport, find_damage, suggested_skip
    from ._denoise import denoise
    from ._intensity import correct_intensity, original_intensity
    from ._mask import DamagedRectangle, mask_damage, read_damage_mask
    from ._phantom import PhantomConfig, sample_stack, sample_truth
    from ._read import read_stack, read_voxel_size, readable_suffixes
    from ._skip import parse_slices
    from ._slices import LazySlices
    from ._stack import Normalisation, SliceSource, Stack
    from ._thickness import ThicknessEstimate, estimate_thickness
    from ._voxel_size import VoxelSize, to_nm
    from ._z_positions import read_z_positions, z_from_thickness

_HOMES = {
    "AlignmentReport": "_alignment",
    "DamagedRectangle": "_mask",
    "LazySlices": "_slices",
    "Normalisation": "_stack",
    "PhantomConfig": "_phantom",
    "SliceReport": "_damage",
    "SliceSource": "_stack",
    "Stack": "_stack",
    "ThicknessEstimate": "_thickness",
    "VoxelSize": "_voxel_size",
    "check_alignment": "_alignment",
    "correct_intensity": "_intensity",
    "denoise": "_denoise",
    "estimate_thickness": "_thickness",
    "find_damage": "_damage",
    "mask_damage": "_mask",
    "original_intensity": "_intensity",
    "parse_slices": "_skip",
    "read_damage_mask": "_mask",
    "read_stack": "_read",
    "read_voxel_size": "_read",
    "read_z_positions": "_z_positions",
    "readable_suffixes": "_read",
    "remove_jitter": "_alignment",
    "sample_stack": "_phantom",
    "sample_truth": "_phantom",
    "stack_from_array": "_array",
    "suggested_skip": "_damage",
    "to_nm": "_voxel_size",
    "z_from_thickness": "_z_positions",
}

__all__ = [
    "AlignmentReport",
    "DamagedRectangle",
    "LazySlices",
    "Normalisation",
    "PhantomConfig",
    "SliceReport",
    "SliceSource",
    "Stack",
    "ThicknessEstimate",
    "VoxelSize",
    "check_alignment",
    "correct_intensity",
    "denoise",
    "estimate_thickness",
    "find_damage",
    "mask_damage",
    "original_intensity",
    "parse_slices",
    "read_damage_mask",
    "read_stack",
    "read_voxel_size",
    "read_z_positions",
    "readable_suffixes",
    "remove_jitter",
    "sample_stack",
    "sample_truth",
    "stack_from_array",
    "suggested_skip",
    "to_nm",
    "z_from_thickness",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
