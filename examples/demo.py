"""The whole way on the built-in sample: fit, export, compare with the truth.

Run ``make demo``, or in an environment with ``pip install "napari-emgauss[figures]"``::

    python examples/demo.py --output demo

Writes ``stack.ome.tif`` (what the microscope kept), ``model.safetensors``, ``isotropic.ome.tif``, ``truth.ome.tif``,
``comparison.png`` and ``report.html`` (all of it on one page), and prints the score of linear interpolation and of
EMGauss on the slices that were left out.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

import napari_emgauss as emg
from napari_emgauss.evaluation import EvaluationResult
from napari_emgauss.priors import interpolate_linear
from napari_emgauss.report import gather_facts, write_report

Volume = NDArray[np.uint8]


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="Fit the built-in sample and compare with the truth.")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write to (default: demo)")
    parser.add_argument("--preset", default="fast", choices=emg.preset_names())
    parser.add_argument("--prior", help="what makes the pseudo-labels, instead of the preset's choice")
    parser.add_argument("--iterations-scale", type=float, default=1.0, help="0.1 for a quick look (default: 1)")
    parser.add_argument(
        "--seed", type=int, default=emg.PhantomConfig().seed, help="another seed, another piece of tissue"
    )
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    tissue = emg.PhantomConfig(seed=arguments.seed)
    stack, truth = emg.sample_stack(tissue), emg.sample_truth(tissue)
    pixels = " × ".join(str(n) for n in stack.shape)
    print(f"Sample: {pixels} voxels, {tissue.pixel_size_nm:g} nm in plane, every {tissue.factor}th slice kept")
    write_tiff(arguments.output / "stack.ome.tif", np.asarray(stack.slices), tissue, step=tissue.factor)
    write_tiff(arguments.output / "truth.ome.tif", np.asarray(truth.slices), tissue, step=1)

    started = time.perf_counter()
    config = emg.preset(arguments.preset)
    config = replace(
        config,
        prior=arguments.prior or config.prior,
        iterations_scale=config.iterations_scale * arguments.iterations_scale,
    )
    model = fit(stack, config)
    seconds = time.perf_counter() - started
    model.save(arguments.output / "model.safetensors")
    emg.export(model, arguments.output / "isotropic.ome.tif", overwrite=True)

    emgauss = tifffile.imread(arguments.output / "isotropic.ome.tif")
    linear = stack.normalisation.from_unit(interpolate_linear(stack.unit_slices(), stack.z_nm, truth.z_nm))
    result = emg.evaluate(truth, tissue.factor, reconstructions={"linear": linear, "emgauss": emgauss})
    draw(arguments.output / "comparison.png", np.asarray(truth.slices), linear, emgauss, result, tissue)

    facts = gather_facts(model, title="The built-in sample", stack=stack, results=(result.as_dict(),))
    write_report(facts, arguments.output / "report.html")

    print(f"\nFitted in {seconds:.0f} s; what it looks like: {arguments.output / 'comparison.png'}")
    print(f"Scores, resolution, provenance and methods on one page: {arguments.output / 'report.html'}")
    print_score(result)
    return 0


def fit(stack: emg.Stack, config: emg.FitConfig) -> emg.EmgaussModel:
    """The same as ``emg.run_fit(stack, config)``, with a bar to watch."""
    text = ""
    with tqdm(total=1, bar_format="{desc:<16}{percentage:3.0f}% |{bar:30}| {elapsed}{postfix}") as bar:
        for update in emg.fit(stack, config):
            bar.total = max(update.total_iterations, 1)
            bar.n = update.iteration
            bar.set_description_str(update.stage)
            text = update.text or text  # what was said last still holds
            preparing = update.stage == "prior" or update.loss is None
            bar.set_postfix_str(text if preparing else f"loss {update.loss:.4f}")
    model = update.model
    if model is None:
        raise RuntimeError("the fit ended without a model")
    return model


def write_tiff(path: Path, volume: Volume, tissue: emg.PhantomConfig, *, step: int) -> None:
    """OME-TIFF with a slice every ``step`` pixels."""
    size = tissue.pixel_size_nm / 1000
    units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"}
    sizes = {"PhysicalSizeX": size, "PhysicalSizeY": size, "PhysicalSizeZ": size * step}
    tifffile.imwrite(path, volume, metadata={"axes": "ZYX", **sizes, **units}, compression="zlib")


def draw(
    path: Path, truth: Volume, linear: Volume, emgauss: Volume, result: EvaluationResult, tissue: emg.PhantomConfig
) -> None:
    """Four columns, observed | linear | EMGauss | truth: xy in the middle of a gap, and xz through the whole stack."""
    factor = tissue.factor
    middle = (truth.shape[0] // 2) // factor * factor + factor // 2
    row = truth.shape[1] // 2
    nearest = np.clip(np.floor(np.arange(len(truth)) / factor + 0.5).astype(int) * factor, 0, len(truth) - 1)
    volumes = {"observed": truth[nearest], "linear interpolation": linear, "EMGauss": emgauss, "truth": truth}
    heights = [truth.shape[1], truth.shape[0]]
    width = 3.1
    figure = Figure(figsize=(4 * width, width * sum(heights) / truth.shape[2] + 0.75), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 4, height_ratios=heights)
    scores = {"linear interpolation": result.methods["linear"], "EMGauss": result.methods["emgauss"]}
    below = factor // 2 * tissue.pixel_size_nm
    notes = {"observed": f"nearest slice, {below:g} nm away", "truth": "never shown to the methods"}
    for column, (name, volume) in enumerate(volumes.items()):
        method = scores.get(name)
        for view, plane in enumerate((volume[middle], volume[:, row])):
            panel = axes[view, column]
            panel.imshow(plane, cmap="gray", vmin=40, vmax=200, interpolation="nearest", aspect="equal")
            panel.set_xticks([])
            panel.set_yticks([])
            if method is not None:
                score = (method.xy, method.xz)[view]
                panel.set_xlabel(f"{score.psnr:.2f} dB, SSIM {score.ssim:.3f}", fontsize=9)
        axes[0, column].set_title(f"{name}\n{notes[name]}" if name in notes else name, fontsize=10)
    axes[0, 0].set_ylabel(f"xy, between two slices {factor * tissue.pixel_size_nm:g} nm apart", fontsize=9)
    axes[1, 0].set_ylabel("xz", fontsize=9)
    figure.savefig(path, dpi=110)


def print_score(result: EvaluationResult) -> None:
    """Three lines: head, linear interpolation, EMGauss."""
    linear, emgauss = result.methods["linear"].xy, result.methods["emgauss"].xy
    print(f"{'left-out slices':<22}{'PSNR':>10}{'SSIM':>8}{'FSIM':>8}")
    for name, scores in (("linear interpolation", linear), ("EMGauss", emgauss)):
        gain = f"   {scores.psnr - linear.psnr:+.2f} dB" if name == "EMGauss" else ""
        values = [math.nan if value is None else value for value in (scores.ssim, scores.fsim)]
        print(f"{name:<22}{scores.psnr:>7.2f} dB{values[0]:>8.3f}{values[1]:>8.3f}{gain}")


if __name__ == "__main__":
    sys.exit(main())
