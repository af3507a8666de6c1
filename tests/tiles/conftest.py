"""A folder of tiles made by hand, and a small stack to fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_emgauss import EmgaussModel, FitConfig, Stack, preset, stack_from_array
from napari_emgauss.model import ModelConfig
from napari_emgauss.stack import Normalisation
from napari_emgauss.tiles import Tile, TilePlan
from napari_emgauss.tiles._index import TileIndex, write_index, write_tile

PIXEL_NM = (8.0, 8.0)


def constant_model(tile: Tile, z_nm: np.ndarray, grey: float) -> EmgaussModel:
    """A model that is ``grey`` (0 ... 255) everywhere: opaque Gaussians much larger than the tile."""
    _, height, width = tile.shape
    inside = z_nm[tile.slices.start : tile.slices.stop]
    model = EmgaussModel(
        ModelConfig(field="grid"),
        inside,
        PIXEL_NM,
        (height, width),
        Normalisation(0.0, 255.0, "uint8"),
        6,
        device="cpu",
    ).requires_grad_(False)
    cloud = model.cloud_list[0]
    cloud.means[:] = cloud.means.new_tensor([width / 2, height / 2])
    cloud.log_scales[:] = 9.0
    cloud.opacity_logits[:] = 8.0
    cloud.values[:] = grey / 255.0
    return model


def _write(folder: Path, plan: TilePlan, z_nm: np.ndarray, grey_of: Callable[[Tile], float | None]) -> Path:
    folder.mkdir()
    index = TileIndex(plan, z_nm, PIXEL_NM, Normalisation(0.0, 255.0, "uint8"), {"name": "made by hand"})
    for tile in plan:
        grey = grey_of(tile)
        if grey is not None:
            path = folder / "one.safetensors"
            constant_model(tile, z_nm, grey).save(path)
            index = index.with_tile(tile, write_tile(folder, tile, path.read_bytes(), 6))
            path.unlink()
    write_index(folder, index)
    return folder


@pytest.fixture
def write_tiles() -> Callable[..., Path]:
    return _write


@pytest.fixture
def small_stack() -> Stack:
    """Seven slices of 140 x 70 pixels with something in them."""
    z, y, x = np.meshgrid(np.arange(7), np.arange(140), np.arange(70), indexing="ij")
    grey = 128 + 60 * np.sin((y + 3 * z) / 9) + 50 * np.cos((x - 2 * z) / 7)
    return stack_from_array(grey.astype(np.uint8), (40, 8, 8), name="waves")


@pytest.fixture
def quick_config() -> FitConfig:
    """A few iterations of everything."""
    return preset(
        "default",
        prior="linear",
        seed=3,
        device="cpu",
        warm_up_iterations=2,
        joint_iterations=2,
        teacher_student_iterations=3,
        pixels_per_gaussian=40.0,
    )
