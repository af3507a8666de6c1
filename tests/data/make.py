"""Makes the files beside it: what a release wrote must be read by those after it.

Run once by the release whose files they are (``python tests/data/make.py FOLDER``); later releases add files of their
own under other names and leave these alone. ``test_older_files.py`` reads them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from napari_emgauss import FitConfig, Stack, preset, stack_from_array
from napari_emgauss.fitting import fit, run_fit
from napari_emgauss.tiles import TileSize, run_fit_tiles

STOPPED_AT = 25
SIZE = TileSize(64, 4, 4, 2)


def small_stack(rows: int = 20, columns: int = 26) -> Stack:
    """Six slices with something in them, every pixel of which follows from its place."""
    z, y, x = np.meshgrid(np.arange(6), np.arange(rows), np.arange(columns), indexing="ij")
    grey = (y * 11 + z * 29) % 97 + (x * 7 + z * 13) % 101
    return stack_from_array(grey.astype(np.uint8), (40, 8, 8), name="waves")


def small_config(**settings: Any) -> FitConfig:
    """A few iterations of everything."""
    return preset(
        "fast",
        prior="linear+blur",
        device="cpu",
        warm_up_iterations=10,
        joint_iterations=10,
        teacher_student_iterations=20,
        pixels_per_gaussian=20.0,
        **settings,
    )


def main(folder: Path) -> None:
    """Write model, checkpoint and tiles into ``folder``."""
    stack, config = small_stack(), small_config()
    run_fit(stack, config).save(folder / "model.safetensors")
    updates = fit(stack, config, checkpoint=folder / "checkpoint.safetensors")
    next(update for update in updates if update.iteration >= STOPPED_AT)
    updates.close()  # type: ignore[attr-defined]
    config = small_config(knots_per_gap=1, window_slices=None)
    run_fit_tiles(small_stack(72, 20), config, folder=folder / "tiled.emgauss", size=SIZE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
