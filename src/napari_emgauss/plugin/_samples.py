"""File ▸ Open Sample ▸ EMGauss: the generated neuropil stack, and the truth it was taken from."""

from __future__ import annotations

from typing import Any


def open_sample_stack() -> list[tuple[Any, dict[str, Any], str]]:
    """The anisotropic stack."""
    from napari_emgauss.stack import sample_stack

    return [_layer(sample_stack, "phantom stack")]


def open_sample_truth() -> list[tuple[Any, dict[str, Any], str]]:
    """The isotropic volume that the stack was taken from."""
    from napari_emgauss.stack import sample_truth

    return [_layer(sample_truth, "phantom truth")]


def _layer(make: Any, name: str) -> tuple[Any, dict[str, Any], str]:
    from ._background import wait_responsively

    stack = wait_responsively(lambda: make().in_memory())
    z_nm = stack.z_nm
    scale = (float(z_nm[1] - z_nm[0]), *stack.pixel_size_nm)
    keywords = {
        "name": name,
        "scale": scale,
        "units": ("nm", "nm", "nm"),
        "axis_labels": ("z", "y", "x"),
        "contrast_limits": (0, 255),
        "metadata": {"emgauss_voxel_size_origin": "the phantom's own description"},
    }
    return stack.slices, keywords, "image"
