"""The constants that estimates of memory and time count with: what `emgauss plan` and the dock tell beforehand.

    python benchmarks/calibrate.py fit      # memory of a tile's fit, and time of its iterations
    python benchmarks/calibrate.py prior    # time of what a prior that learns does, beside the least it can take

Each writes results/calibrate_NAME.json. `--quick` runs a small version. Times are CPU seconds of one thread.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from _tile_bench import VOXEL_NM, finish, generated, in_child, run_command

if TYPE_CHECKING:
    from napari_emgauss.priors import Observation


def child_fit(shape: list[int], settings: dict[str, Any], preset: str) -> dict[str, Any]:
    """A fit of a generated stack: CPU seconds of the prior and of an iteration, peak memory."""
    import torch

    from napari_emgauss import fit, preset as named, stack_from_array
    from napari_emgauss.tiles._estimate import gaussians, label_count, model_bytes, settled_config
    from napari_emgauss.tiles._task import peak_memory_mb

    torch.set_num_threads(1)
    config = named(preset, **settings)
    base = peak_memory_mb()
    stack = stack_from_array(generated(*shape), VOXEL_NM)
    fit_start: tuple[float, int] | None = None
    started = time.process_time()
    prior_cpu = 0.0
    for update in fit(stack, config, texture=False):  # as tiles are fitted
        now = time.process_time()
        if update.stage == "prior":
            prior_cpu = now - started
        elif fit_start is None and update.iteration >= 5:  # the first ones compile
            fit_start = (now, update.iteration)
    end, begin = (time.process_time(), update.iteration), fit_start or (started, 0)
    seconds = (end[0] - begin[0]) / max(1, end[1] - begin[1])
    _, height, width = shape
    config = settled_config(config, stack.z_nm, stack.pixel_size_nm)
    labels = label_count(stack.z_nm, stack.pixel_size_nm, config) * height * width
    return {
        "slices": shape[0],
        "side_pixels": height,
        "gaussians": update.gaussians,
        "most_gaussians": gaussians(height, width, config),
        "cpu_ms_per_iteration": 1e3 * seconds,
        "prior_cpu_s": prior_cpu,
        "label_megapixels": labels / 1e6,
        "model_mb": model_bytes(tuple(shape), config) / 1e6,
        "peak_memory_mb": (peak_memory_mb() or 0.0) * 2**20 / 1e6,
        "imported_mb": (base or 0.0) * 2**20 / 1e6,
    }


def child_later(shape: list[int], iterations: int) -> dict[str, Any]:
    """How much longer an iteration takes late in a long fit than early in it: CPU seconds of each tenth."""
    import torch

    from napari_emgauss import fit, preset, stack_from_array

    torch.set_num_threads(1)
    config = preset("default", prior="ensemble", teacher_student_iterations=iterations, warm_up=False, joint=False)
    stack = stack_from_array(generated(*shape), VOXEL_NM)
    told = [(update.iteration, time.process_time()) for update in fit(stack, config, texture=False)]
    done, at = np.array([row for row in told if row[0] >= iterations / 10], float).T
    tenths = np.interp(np.linspace(0.1, 1.0, 10) * iterations, done, at)
    lasted = np.diff(tenths)
    return {"tenths_s": lasted.tolist(), "later": float(lasted[-4:].mean() / lasted[0])}


def child_learned(shape: list[int], iterations: int) -> dict[str, Any]:
    """The self-supervised prior on one thread: CPU seconds of a training step and of what is done to pixels, memory."""
    from dataclasses import replace

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from napari_emgauss import stack_from_array
    from napari_emgauss.priors import Observation, SelfPrior, SelfPriorConfig
    from napari_emgauss.tiles._task import peak_memory_mb

    torch.set_num_threads(1)
    stack = stack_from_array(generated(*shape), VOXEL_NM)
    observation = Observation(stack.unit_slices(), stack.z_nm, stack.pixel_size_nm)
    config = SelfPriorConfig(iterations=iterations)
    # The first steps find out how to convolve.
    told: list[tuple[float, float]] = []
    learned = SelfPrior(config).learn(
        observation, on_progress=lambda update: told.append((time.process_time(), update.fraction or 0.0))
    )
    (begun, first), (ended, last) = told[0], told[-1]
    step_s = (ended - begun) / (last - first) / iterations
    gap_pixels = (shape[0] - 1) * shape[1] * shape[2]
    label_pixels = gap_pixels * learned.network.config.nodes

    def inferred(**settings: Any) -> tuple[float, float]:
        """Seconds and floating-point operations of all slices in between."""
        plain = {"rotations_deg": (0.0,), "mirrored": False, "correction": 0.0, "carried": 0.0}
        ready = replace(learned, config=replace(config, **{**plain, **settings}))
        start = time.process_time()
        ready.prepare(observation)
        seconds = time.process_time() - start
        with FlopCounterMode(display=False) as counter:
            ready.prepare(observation)
        return seconds, counter.get_total_flops()

    inferred()
    straight, turned = inferred(), inferred(rotations_deg=(45.0,))
    corrected, carried = inferred(correction=0.85), inferred(carried=0.2)
    with FlopCounterMode(display=False) as counter:
        SelfPrior(replace(config, iterations=1)).learn(observation)
    peak = peak_memory_mb()
    trial, rest = timed_trial(observation)
    rate = multiplying_rate()

    def term(name: str, per: str, seconds: float, flops: float | None, count: float) -> dict[str, Any]:
        """Of what a prior does, the time it takes and the least that its arithmetic can take."""
        floor = None if flops is None else 1e6 * flops / rate / count
        taken = 1e6 * seconds / count
        return {
            "term": name,
            "per": per,
            "microseconds": taken,
            "megaflop": None if flops is None else flops / count / 1e6,
            "floor_microseconds": floor,
            "times_floor": None if floor is None else taken / floor,
        }

    more = [
        term("a pass, xz or yz planes", "pixel of a gap", straight[0], straight[1], 2 * gap_pixels),
        term("a pass, planes turned by 45°", "pixel of a gap", turned[0], turned[1], 2 * gap_pixels),
        term(
            "the correction", "pixel of a slice", corrected[0] - straight[0], corrected[1] - straight[1], label_pixels
        ),
        term("carrying observed slices", "pixel of a slice", carried[0] - straight[0], None, label_pixels),
        term("a trial, beside training and passes", "pixel of a gap", rest, None, gap_pixels),
    ]
    rows = [term("training", "step", step_s, counter.get_total_flops(), 1), *more]
    return {"rows": rows, "gigaflops_of_a_core": rate / 1e9, "peak_memory_mb": peak, "trial_s": trial}


def timed_trial(observation: Observation) -> tuple[float, float]:
    """CPU seconds of a choice on hidden slices, and of what in it is neither training nor passes."""
    from napari_emgauss.priors._auto import auto_prior, choose_prior

    said = [(time.process_time(), "")]
    choose_prior(
        observation,
        auto_prior(effort="fast").config,
        on_progress=lambda update: said.append((time.process_time(), update.text)),
    )
    trial = time.process_time() - said[0][0]
    # The first message of the training comes after ten steps.
    steps = [(at, int(found[1])) for at, text in said if (found := re.search(r"training the prior, (\d+) of", text))]
    (begun, low), (ended, high) = steps[0], steps[-1]
    passing = [at for at, text in said if "predicting" in text]
    return trial, trial - (ended - begun) * high / (high - low) - (passing[-1] - ended)


def multiplying_rate() -> float:
    """Floating-point operations a second that one core manages in a product of matrices, the best of ten."""
    import torch

    one = torch.rand(1024, 1024)
    fastest = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        one @ one
        fastest = min(fastest, time.perf_counter() - start)
    return float(2 * 1024**3 / fastest)


def calibrate_fit(quick: bool) -> None:
    """Fit the constants of the estimate to short fits of several sizes."""
    from scipy.optimize import nnls

    from napari_emgauss import preset

    iterations = 60 if quick else 200
    shapes = [(6, 96, 96), (24, 96, 96), (6, 256, 256), (16, 256, 256)] + (
        [] if quick else [(24, 256, 256), (6, 512, 512)]
    )
    rows = []
    for preset_name in ("default",):
        for shape in shapes:
            for density in (4.0, 8.0):
                settings = {
                    "prior": "ensemble",
                    "pixels_per_gaussian": density,
                    "teacher_student_iterations": iterations,
                    "warm_up_iterations": 10,
                    "joint_iterations": 10,
                }
                rows.append(
                    {"preset": preset_name, **in_child("fit", shape=shape, settings=settings, preset=preset_name)}
                )
                print(rows[-1], file=sys.stderr)
    pixels = np.array([r["side_pixels"] ** 2 for r in rows], float)
    count = np.array([r["gaussians"] for r in rows], float)
    slices = np.array([r["slices"] for r in rows], float)
    ms = np.array([r["cpu_ms_per_iteration"] for r in rows])
    design = np.stack([np.ones_like(pixels), pixels, count], 1)
    weight = 1 / ms
    time_fit, _ = nnls(design * weight[:, None], ms * weight)
    labels = np.array([r["label_megapixels"] for r in rows])
    prior = float(np.sum([r["prior_cpu_s"] for r in rows]) / labels.sum())
    bytes_peak = np.array([r["peak_memory_mb"] for r in rows]) * 1e6 - labels * 2e6
    design = np.stack([np.ones_like(pixels), [r["model_mb"] * 1e6 for r in rows], slices * pixels, pixels], 1)
    memory_fit, _ = nnls(design / bytes_peak[:, None], np.ones_like(bytes_peak))
    constants = {
        "BASE_BYTES": memory_fit[0],
        "MODEL_COPIES": memory_fit[1],
        "BYTES_PER_VOXEL": memory_fit[2],
        "BYTES_PER_PIXEL": memory_fit[3],
        "SECONDS_PER_ITERATION": time_fit[0] / 1e3,
        "SECONDS_PER_ITERATION_AND_PIXEL": time_fit[1] / 1e3,
        "SECONDS_PER_ITERATION_AND_GAUSSIAN": time_fit[2] / 1e3,
        "SECONDS_PER_LABEL_PIXEL": prior / 1e6,
    }
    for row, told, lasted in zip(
        rows,
        design @ memory_fit + labels * 2e6,
        np.stack([np.ones_like(pixels), pixels, count], 1) @ time_fit,
        strict=True,
    ):
        row["estimated_memory_mb"] = told / 1e6
        row["estimated_ms_per_iteration"] = lasted
    plain = {"warm_up": False, "joint": False, "teacher_student_iterations": 20 if quick else 60}
    paper = in_child("fit", shape=(9, 128, 128), settings=plain, preset="paper")
    planes = len(preset("paper").slice_thickness.weights)
    once = constants["SECONDS_PER_ITERATION_AND_PIXEL"] * 128**2
    network_s = (paper["cpu_ms_per_iteration"] / 1e3 - constants["SECONDS_PER_ITERATION"]) / planes - once
    constants["SECONDS_PER_NETWORK_GAUSSIAN"] = (
        network_s / paper["gaussians"] - constants["SECONDS_PER_ITERATION_AND_GAUSSIAN"]
    )
    long = in_child("later", shape=(16, 256, 256), iterations=200 if quick else 1500)
    constants["LATER"] = long["later"]
    finish(
        "calibrate_fit",
        rows,
        "One thread; peak memory of the whole process. LATER: the last four tenths of a long fit over the second.",
        constants=constants,
    )
    print(json.dumps(constants, indent=1))


def calibrate_prior(quick: bool) -> None:
    """The constants of the estimate that are about priors that learn."""
    found = in_child("learned", shape=(16, 256, 256), iterations=15 if quick else 60)
    finish(
        "calibrate_prior",
        found.pop("rows"),
        "One thread, CPU seconds; 16 slices of 256 x 256 pixels, gaps of 8. Floor: the arithmetic at the rate at which "
        f"one core multiplies matrices, {found['gigaflops_of_a_core']:.0f} GFLOP/s. Flow between generated slices is "
        "found in less time than between real ones, which tells in what is carried.",
        **found,
    )


CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {"fit": child_fit, "later": child_later, "learned": child_learned}
COMMANDS: dict[str, Callable[[bool], None]] = {"fit": calibrate_fit, "prior": calibrate_prior}


if __name__ == "__main__":
    run_command(__doc__ or "", COMMANDS, CHILDREN)
