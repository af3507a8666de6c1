"""The GPU in one command, in under nine minutes: parity, renderers side by side, export, a fit to quality, memory.

    python benchmarks/gpu.py                   # all of it
    python benchmarks/gpu.py --parts parity render
    python benchmarks/gpu.py --sweep           # tile sides and warps of the Triton kernels

Needs torch, triton, numpy, numba, scipy, scikit-image and tifffile, no installation of this project, no network and no
data: the volume is generated. gsplat is measured beside Triton where it is installed. Without a CUDA device it says so
and ends; ``--cpu`` runs the same code on the CPU at toy sizes, which tests the script and measures nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _clouds import cloud
from _machine import print_table, write_result

try:
    import napari_emgauss  # noqa: F401
except ImportError:  # a bare checkout
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from napari_emgauss.render import available_backends, choose_backend, splat

PARTS = ("parity", "render", "export", "fit")
BUDGET_S = 500.0


class Clock:
    """What is left of the time that the whole command may take."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


class Bench:
    """Where and with what is measured."""

    def __init__(self, device: str, backends: tuple[str, ...], toy: bool) -> None:
        self.device = device
        self.backends = backends
        self.toy = toy

    @property
    def cuda(self) -> bool:
        """Whether there is a GPU to wait for."""
        return self.device.startswith("cuda")

    def wait(self) -> None:
        """Until everything launched is done."""
        if self.cuda:
            torch.cuda.synchronize()

    def milliseconds(self, work: Callable[[], object], repeats: int = 20) -> float:
        """Median wall time of a call, the GPU's work included; the first three do not count."""
        times = []
        for k in range(repeats + 3):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            if k >= 3:
                times.append(time.perf_counter() - begun)
        return float(np.median(times)) * 1e3

    @contextmanager
    def peak(self, row: dict[str, Any]) -> Iterator[None]:
        """Write the peak of GPU memory during the block into ``row``."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        yield
        row["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20 if self.cuda else None


def parity(bench: Bench) -> list[dict[str, Any]]:
    """Pictures and gradients of every backend against the reference in float64 on the CPU."""
    rows = []
    for name, side, count, change in (
        ("usual", 96, 1500, 1.0),
        ("tiny", 96, 1500, 25.0),
        ("huge", 96, 300, 1e-3),
        ("faint", 96, 1500, 1.0),
    ):
        given = cloud(side, count, batch=2, channels=3)
        with torch.no_grad():
            given["conics"] *= change
            if name == "faint":
                given["opacities"] *= 0.02
        expected = _picture_and_gradients(given, side, torch.float64, "cpu", "reference")
        for backend in bench.backends:
            found = _picture_and_gradients(given, side, torch.float32, bench.device, backend)
            row: dict[str, Any] = {"what": "parity", "cloud": name, "backend": backend}
            # Rounding may put a pixel on the other side of the cut at 1/255: told apart as a share.
            away = (found[0] - expected[0]).abs()
            row["pixels_beyond_1e-4"] = float((away > 1e-4).double().mean())
            row["median_error"] = float(away.median())
            for which, have, want in zip(
                ("means", "conics", "opacities", "values"), found[1:], expected[1:], strict=True
            ):
                row[f"gradient_{which}"] = float((have - want).norm() / want.norm().clamp(min=1e-12))
            rows.append(row)
    return rows


def _picture_and_gradients(
    given: dict[str, torch.Tensor], side: int, dtype: torch.dtype, device: str, backend: str
) -> list[torch.Tensor]:
    leaves = {name: v.detach().to(device, dtype).requires_grad_() for name, v in given.items()}
    image = splat(**leaves, size=(side, side), background=0.2, backend=backend)
    (image - 0.4).square().mean().backward()
    return [v.detach().double().cpu() for v in (image, *(v.grad for v in leaves.values() if v.grad is not None))]


def render(bench: Bench, clock: Clock) -> list[dict[str, Any]]:
    """Renderers side by side over size x Gaussians x depths at once."""
    rows: list[dict[str, Any]] = []
    sizes = ((256, 10_000), (512, 40_000), (1024, 130_000), (1024, 500_000), (2048, 600_000))
    for side, count in ((64, 500),) if bench.toy else sizes:
        for batch in (1, 2) if bench.toy else (1, 4, 8):
            for backend in bench.backends:
                if backend == "reference" and (side > 256 or batch > 1):
                    continue  # known to be slow; one figure says how slow
                if clock.left < 60:
                    return rows
                inputs = cloud(side, count, batch=batch, device=bench.device)
                weights = torch.rand(batch, 1, side, side, device=bench.device)
                few = 2 if backend == "reference" or bench.toy else 20
                row: dict[str, Any] = {
                    "what": "render",
                    "size": side,
                    "gaussians": count,
                    "depths": batch,
                    "backend": backend,
                }

                def picture(i: dict = inputs, s: int = side, b: str = backend) -> None:
                    with torch.no_grad():
                        splat(**i, size=(s, s), backend=b)

                def both(i: dict = inputs, s: int = side, b: str = backend, w: torch.Tensor = weights) -> None:
                    splat(**i, size=(s, s), backend=b).backward(w)

                with bench.peak(row):
                    row["forward_ms"] = bench.milliseconds(picture, few)
                    row["forward_backward_ms"] = bench.milliseconds(both, few)
                row["slices_per_second"] = 1e3 * batch / row["forward_ms"]
                rows.append(row)
    return rows


def _phantom(bench: Bench) -> tuple[Any, Any]:
    """The truth and the stack: 16 kept slices of 768 x 1024, every tenth, as a block of EPFL's would be."""
    from napari_emgauss.stack import sample_stack, sample_truth
    from napari_emgauss.stack._phantom import PhantomConfig

    shape, factor = ((25, 40, 56), 8) if bench.toy else ((151, 768, 1024), 10)
    config = PhantomConfig(shape=shape, factor=factor)
    return sample_truth(config), sample_stack(config)


def export(bench: Bench, model: Any) -> list[dict[str, Any]]:
    """Single slices, and the isotropic volume to memory, from a fitted model."""
    depth, height, width = model.shape
    first, last = float(model.z_nm[0]), float(model.z_nm[-1])
    row: dict[str, Any] = {"what": "export", "size": f"{height} x {width}", "gaussians": model.gaussian_count}
    with bench.peak(row):
        middle = 0.5 * (first + last)
        row["slice_ms"] = bench.milliseconds(lambda: model.render(middle), 3 if bench.toy else 20)
        z_nm = np.arange(first, last + 1e-6, model.pixel_size_nm[0])
        begun = time.perf_counter()
        volume = model.render(z_nm)
        seconds = time.perf_counter() - begun
    row["slices_per_second"] = 1e3 / row["slice_ms"]
    row["volume_mvoxel_per_second"] = volume.size / 1e6 / seconds
    row["observed_slices"] = depth
    return [row]


def fits(bench: Bench, clock: Clock, presets: list[str]) -> tuple[list[dict[str, Any]], Any]:
    """Seconds and quality of whole fits, prior included, beside what needs no fit."""
    from napari_emgauss.fit import fit, preset
    from napari_emgauss.priors import Observation, get_prior

    begun = time.perf_counter()
    truth, stack = _phantom(bench)
    print(f"phantom {truth.shape}: {time.perf_counter() - begun:.1f} s to make")
    dropped = [k for k, z in enumerate(truth.z_nm) if np.abs(stack.z_nm - z).min() > 1e-6 and z < stack.z_nm[-1]]
    dropped = dropped[:: max(1, len(dropped) // 24)]
    rows: list[dict[str, Any]] = []
    observed = Observation(stack.unit_slices(), stack.z_nm, stack.pixel_size_nm)
    for name in ("linear", "ensemble"):
        if clock.left < 90:
            break
        begun = time.perf_counter()
        interpolator = get_prior(name).prepare(observed)
        images = [interpolator.at(float(truth.z_nm[k])).image for k in dropped]
        seconds = time.perf_counter() - begun
        rows.append(
            {"what": "fit", "method": name, "device": "cpu", "seconds": seconds, **_quality(images, truth, dropped)}
        )
    model = None
    for name in presets:
        settings = preset(name, device=bench.device, **({"iterations_scale": 0.02} if bench.toy else {}))
        row: dict[str, Any] = {"what": "fit", "method": name, "device": bench.device}
        begun = time.perf_counter()
        stopped = False
        with bench.peak(row):
            for update in fit(stack, settings):
                model = update.model
                if update.stage == "prior":
                    row["prior_seconds"] = update.elapsed_s
                if clock.left < 45:
                    stopped = True
                    break
            bench.wait()
        row["seconds"] = time.perf_counter() - begun
        row["iterations"] = update.iteration
        row["stopped_by_the_clock"] = stopped
        if model is not None:
            row["gaussians"] = model.gaussian_count
            images = [stack.normalisation.to_unit(model.render(float(truth.z_nm[k]))) for k in dropped]
            row.update(_quality(images, truth, dropped))
        rows.append(row)
        if stopped:
            break
    return rows, model


def _quality(images: list[Any], truth: Any, chosen: list[int]) -> dict[str, float]:
    from skimage.metrics import structural_similarity

    options: dict[str, Any] = {
        "data_range": 1.0,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    psnr, ssim = [], []
    for image, k in zip(images, chosen, strict=True):
        target = truth.unit_slice(k)
        psnr.append(-10 * np.log10(np.mean((image - target) ** 2)))
        ssim.append(structural_similarity(target, np.asarray(image, dtype=np.float32), **options))
    return {"psnr": float(np.mean(psnr)), "ssim": float(np.mean(ssim))}


def sweep(bench: Bench) -> list[dict[str, Any]]:
    """Tile side and warps of the Triton kernels: which constants the card likes best."""
    from napari_emgauss.render import _triton

    kept = _triton.TILE, _triton.WARPS
    rows = []
    for side, count in ((512, 40_000), (1024, 130_000)):
        for tile in (8, 16, 32):
            for warps in (1, 2, 4, 8):
                _triton.TILE, _triton.WARPS = tile, warps
                inputs = cloud(side, count, batch=4, device=bench.device)
                weights = torch.rand(4, 1, side, side, device=bench.device)
                row: dict[str, Any] = {"what": "sweep", "size": side, "gaussians": count, "tile": tile, "warps": warps}

                def picture(i: dict = inputs, s: int = side) -> None:
                    with torch.no_grad():
                        splat(**i, size=(s, s), backend="triton")

                def both(i: dict = inputs, s: int = side, w: torch.Tensor = weights) -> None:
                    splat(**i, size=(s, s), backend="triton").backward(w)

                row["forward_ms"] = bench.milliseconds(picture, 10)
                row["forward_backward_ms"] = bench.milliseconds(both, 10)
                rows.append(row)
    _triton.TILE, _triton.WARPS = kept
    return rows


def main() -> int:
    """Measure what there is time for, print and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--presets", nargs="+", default=["default"], help="fits to run, in this order")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for everything")
    parser.add_argument("--sweep", action="store_true", help="also try tile sides and warps")
    parser.add_argument("--cpu", action="store_true", help="toy sizes on the CPU: tests this script, measures nothing")
    parser.add_argument("--output", type=Path, help="file to write in place of results/gpu.json")
    arguments = parser.parse_args()
    clock = Clock(arguments.budget)
    statuses = available_backends()
    for status in statuses:
        print(f"{status.name:10} {'works' if status.available else 'no   '}  {status.reason}")
    choice = choose_backend("cpu" if arguments.cpu else "auto")
    print(f"auto takes {choice.backend} on {choice.device}: {choice.reason}\n")
    if not arguments.cpu and not choice.device.startswith("cuda"):
        print("There is no GPU renderer to measure here.", file=sys.stderr)
        return 1
    wanted = ("cpu", "reference") if arguments.cpu else ("triton", "cuda", "reference")
    working = {s.name for s in statuses if s.available}
    bench = Bench(choice.device, tuple(name for name in wanted if name in working), toy=arguments.cpu)
    rows: list[dict[str, Any]] = []
    model = None

    def add(found: list[dict[str, Any]]) -> None:
        rows.extend(found)
        print_table(found)
        print(f"({clock.left:.0f} s left)\n", flush=True)
        # After every part: what was measured is kept if the next one fails.
        if not bench.toy or arguments.output is not None:
            write_result(
                "gpu",
                rows,
                path=arguments.output,
                notes=f"{choice.reason}. Medians, the GPU's work included; quality on the generated phantom.",
                backends={s.name: s.reason for s in statuses},
            )

    if "parity" in arguments.parts:
        add(parity(bench))
    if "render" in arguments.parts:
        add(render(bench, clock))
    if arguments.sweep and "triton" in bench.backends:
        add(sweep(bench))
    if "fit" in arguments.parts or "export" in arguments.parts:
        found, model = fits(bench, clock, arguments.presets)
        add(found)
    if "export" in arguments.parts and model is not None:
        add(export(bench, model))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
