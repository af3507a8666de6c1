"""Slices as they are: thick ones, and ones that lie off, on generated tissue whose truth is known.

    python benchmarks/slices.py            # minutes on one core

``slab``: every slice is the mean over its gap, fitted as points and as slabs. ``shifts``: slices are moved by known
shifts, fitted as they are, after ``remove_jitter`` (phase correlation), and with shifts that the fit learns. Scored on
the slices in between, against the generated truth.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
from _machine import print_table, write_result
from numpy.typing import NDArray

from napari_emgauss.evaluation import psnr
from napari_emgauss.fitting import preset, run_fit
from napari_emgauss.stack import (
    Normalisation,
    PhantomConfig,
    check_alignment,
    remove_jitter,
    sample_stack,
    sample_truth,
    stack_from_array,
)
from napari_emgauss.stack._alignment import move_slices

PIXEL_NM = 5.0
Row = dict[str, Any]


def main() -> int:
    """Measure both and write the rows."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0]).parse_args()
    rows = [row for factor in (4, 6) for row in slab(factor)]
    rows += [row for shape in ((4, 33, 112, 128), (8, 65, 112, 128)) for row in shifts(*shape)]
    print_table(rows)
    write_result(
        "slices",
        rows,
        notes=(
            "Generated tissue. slab: 9 slices of 72 × 80 pixels, each the mean over its gap. shifts: 9 slices of 112 × "
            "128 pixels, moved by 1.2 pixels (standard deviation along y and x); error_px is what is left of them "
            "(root mean square, without a steady drift), of 1.4. Preset fast, prior linear (slab) and linear+blur "
            "(shifts). Seconds of CPU time."
        ),
        columns=["what", "factor", "slices", "psnr", "error_px", "cpu_seconds"],
    )
    return 0


def slab(factor: int, count: int = 9) -> list[Row]:
    """Thick slices fitted both ways."""
    config = PhantomConfig(shape=(factor * count, 72, 80), factor=factor, noise=3.0)
    truth = np.asarray(sample_truth(config).slices, dtype=np.float32)
    z_nm = (np.arange(count) * factor + (factor - 1) / 2) * PIXEL_NM
    thick = truth.reshape(count, factor, *truth.shape[1:]).mean(axis=1)
    eight_bit = Normalisation(0.0, 255.0, "float32")
    stack = stack_from_array(thick, z_nm=z_nm, pixel_size_nm=PIXEL_NM, normalisation=eight_bit)
    inside = [k for k in range(len(truth)) if z_nm[0] <= PIXEL_NM * k <= z_nm[-1]]
    rows = []
    for sampling in ("point", "slab"):
        began = time.process_time()
        model = run_fit(stack, preset("fast", prior="linear", sampling=sampling, teacher_student_iterations=700))
        images = model.render(PIXEL_NM * np.array(inside))
        row = {"what": "slab", "factor": factor, "slices": f"fitted as {sampling}s", "error_px": None}
        rows.append(row | scored(images, truth[inside], began))
    return rows


def shifts(factor: int, depth: int, height: int, width: int) -> list[Row]:
    """Slices that lie off, fitted three ways."""
    config = PhantomConfig(shape=(depth, height, width), factor=factor, noise=4.0)
    truth = np.asarray(sample_truth(config).slices, dtype=np.float32)
    sound = sample_stack(config)
    moved_px = np.random.default_rng(0).normal(0, 1.2, (sound.shape[0], 2))
    moved_px -= moved_px.mean(axis=0)
    stack = move_slices(sound, moved_px).in_memory()
    straight = remove_jitter(stack, check_alignment(stack))
    hidden = [k for k in range(depth) if k % factor]
    rows = []
    for name, one, learned in (
        ("moved", stack, False),
        ("moved, phase correlation", straight.in_memory(), False),
        ("moved, shifts learned", stack, True),
    ):
        began = time.process_time()
        model = run_fit(one, preset("fast", prior="linear+blur", slice_shifts=learned))
        found = model.provenance.get("slice_shifts_px", one.metadata.get("jitter_removed_px", np.zeros_like(moved_px)))
        error_px = round(left(moved_px - np.array(found)), 2)
        row = {"what": "shifts", "factor": factor, "slices": name, "error_px": error_px}
        rows.append(row | scored(model.render(PIXEL_NM * np.array(hidden)), truth[hidden], began))
    return rows


def left(error_px: NDArray[np.float64]) -> float:
    """Length of shifts (root mean square) without the part that grows steadily, which nothing can tell."""
    k = np.arange(len(error_px))
    drift = np.stack([np.polyval(np.polyfit(k, column, 1), k) for column in error_px.T], axis=1)
    return float(np.sqrt(((error_px - drift) ** 2).sum(axis=1).mean()))


def scored(images: NDArray[Any], truth: NDArray[Any], began: float) -> Row:
    """Mean over slices."""
    pairs = zip(images.astype(np.float32) / 255, truth / 255, strict=True)
    decibels = round(float(np.mean([psnr(a, b) for a, b in pairs])), 2)
    return {"psnr": decibels, "cpu_seconds": round(time.process_time() - began, 1)}


if __name__ == "__main__":
    sys.exit(main())
