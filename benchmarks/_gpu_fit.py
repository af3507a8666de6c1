"""Sections of ``gpu.py`` on fits: baselines, presets to quality, export, single iterations, the paper's preset."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _gpu_bench import BACKWARD_FLOPS, FORWARD_FLOPS, Bench, Clock, Row, ellipse_pixels, guarded
from _machine import shared_data
from numpy.typing import NDArray

from napari_emgauss.fitting import FitConfig, fit, preset
from napari_emgauss.priors import Observation, get_prior
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import Normalisation, Stack

PIXEL_NM = 5.0
WINDOW = 256
"""Quality is scored on a central square of this side: the classical methods take minutes for whole slices."""
SCORED = 24


class Block:
    """The truth, the kept slices, and the dropped slices that are scored."""

    def __init__(self, toy: bool) -> None:
        depth, height, width = (17, 36, 44) if toy else (151, 768, 1024)
        self.factor = 4 if toy else 10
        volume, self.source = _volume(depth, height, width, toy)
        self.truth = volume
        kept = np.ascontiguousarray(volume[:: self.factor])
        z_nm = np.arange(len(kept), dtype=np.float64) * self.factor * PIXEL_NM
        self.stack = Stack(kept, z_nm, (PIXEL_NM, PIXEL_NM), Normalisation(0.0, 255.0, "uint8"), name="block")
        dropped = np.array([k for k in range(depth) if k % self.factor])
        self.scored = dropped[:: max(1, len(dropped) // SCORED)]
        top, left = max(0, (height - WINDOW) // 2), max(0, (width - WINDOW) // 2)
        self.window = (slice(top, top + min(WINDOW, height)), slice(left, left + min(WINDOW, width)))

    def quality(self, image_of: Callable[[float], NDArray[Any]], scored: NDArray[Any] | None = None) -> Row:
        """PSNR and SSIM of unit-range images of the window over the dropped slices that are scored."""
        from skimage.metrics import structural_similarity

        psnr, ssim = [], []
        for k in self.scored if scored is None else scored:
            image = np.asarray(image_of(float(k * PIXEL_NM)), dtype=np.float32)
            target = self.truth[k][self.window].astype(np.float32) / 255
            psnr.append(-10 * np.log10(np.mean((image - target) ** 2)))
            ssim.append(
                structural_similarity(
                    target, image, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
                )
            )
        return {"psnr": float(np.mean(psnr)), "ssim": float(np.mean(ssim))}

    def rendered(self, model: EmgaussModel) -> Callable[[float], NDArray[Any]]:
        """The window of a model at a depth, unit range."""
        rows, columns = self.window
        region = (rows.start, rows.stop, columns.start, columns.stop)
        return lambda z: model.render(z, region=region).astype(np.float32) / 255


def _volume(depth: int, height: int, width: int, toy: bool) -> tuple[NDArray[np.uint8], str]:
    path = None if toy else shared_data("epfl.ome.tif")
    if path is not None:
        import tifffile

        piece, source = np.asarray(tifffile.imread(path))[:depth], "EPFL crop"
    else:
        from napari_emgauss.stack import PhantomConfig, sample_truth

        rows, columns = (min(192, height), min(256, width))
        piece = np.asarray(sample_truth(PhantomConfig(shape=(depth, rows, columns), factor=4)).slices)
        source = "generated phantom"
    _, rows, columns = piece.shape
    volume = np.pad(piece, ((0, 0), (0, height - rows), (0, width - columns)), mode="symmetric")
    mirrored = "" if (rows, columns) == (height, width) else ", mirrored to this size"
    return volume, f"{source} of {rows} x {columns} pixels{mirrored}: {depth} x {height} x {width}"


def baselines(bench: Bench, clock: Clock, presets: list[str]) -> Iterator[Row]:
    """Priors that learn nothing, on the window and a margin, on the CPU; then the flow of the whole block."""
    block = Block(bench.toy)
    yield {"what": "block", "block": block.source, "kept_slices": len(block.stack.z_nm), "factor": block.factor}
    margin = 16
    rows, columns = block.window
    top, left = max(0, rows.start - margin), max(0, columns.start - margin)
    around = (slice(top, rows.stop + margin), slice(left, columns.stop + margin))
    inner = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    images = np.ascontiguousarray(block.stack.unit_slices()[(slice(None), *around)])
    observed = Observation(images, block.stack.z_nm, block.stack.pixel_size_nm)
    for name in ("linear", "linear+blur", "ensemble"):
        row: Row = {"what": "baseline", "method": name, "device": "cpu"}

        def measure(r: Row = row, n: str = name) -> None:
            begun = time.perf_counter()
            prepared = get_prior(n, device="cpu").prepare(observed)
            r.update(block.quality(lambda z: prepared.at(z).image[inner]))
            r["window_seconds"] = time.perf_counter() - begun

        yield guarded(row, measure)
    row = {"what": "flow", "device": bench.device}
    yield guarded(row, lambda: _flow(bench, block, images, row))


FLOW_BYTES = 64.0 * 40 * 4 / 3
"""Moved at least for each pixel: in each of 40 iterations flow and dual variables read and written, four fields read,
and the smaller levels of the pyramid."""


def _flow(bench: Bench, block: Block, window: NDArray[np.float32], row: Row) -> None:
    """Optical flow both ways in all gaps of the block, then slices along it, beside that of one gap on the CPU."""
    from napari_emgauss.priors.classical._flow import FlowInterpolator, Flows

    images, z_nm = block.stack.unit_slices(), block.stack.z_nm
    gaps = len(z_nm) - 1
    row.update(gaps=gaps, pixels=images[0].size)
    with bench.peak(row):
        for name in ("first_seconds", "seconds"):
            flows = Flows(images, torch.device(bench.device))
            bench.wait()
            begun = time.perf_counter()
            for k in range(gaps):
                flows.of(k)
            bench.wait()
            row[name] = time.perf_counter() - begun
        ensemble = FlowInterpolator(images, z_nm, flows, with_linear=True)
        row["slice_ms"] = bench.milliseconds(lambda: ensemble.at(float(z_nm[0] + z_nm[1]) / 2))
    row["floor_ms"] = bench.rates.floor_ms(2.0 * gaps * images[0].size * FLOW_BYTES, 0.0)
    begun = time.perf_counter()
    here = Flows(window[:2]).of(0).numpy()
    row["cpu_seconds_a_megapixel"] = (time.perf_counter() - begun) / window[0].size * 1e6
    there = Flows(window[:2], torch.device(bench.device)).of(0).cpu().numpy()
    row["difference_px"] = float(np.abs(there - here).mean())


def fits(bench: Bench, clock: Clock, presets: list[str]) -> Iterator[Row]:
    """Whole fits, prior included, with quality over time; then export from the last of them."""
    block = Block(bench.toy)
    model: EmgaussModel | None = None
    for name in presets:
        settings = _settings(name, bench, bench.device)
        row: Row = {"what": "fit", "method": name, "device": bench.device, "prior": settings.prior}
        kept: list[EmgaussModel] = []
        yield guarded(row, lambda r=row, s=settings, k=kept: _fit(bench, clock, block, s, r, k))  # type: ignore[misc]
        model = kept[-1] if kept else model
    if model is not None:
        yield from _export(bench, model)


def _settings(name: str, bench: Bench, device: str, **changes: Any) -> FitConfig:
    if bench.toy:
        small = {"iterations_scale": 0.002, "mlp_width": 16} if name == "paper" else {"prior": "self:fast"}
        changes = {"iterations_scale": 0.02, **small, **changes}
    return preset(name, device=device, **changes)


def _short_prior(settings: FitConfig, toy: bool) -> Any:
    """The prior of a toy fit: the same code for a few iterations; None where the settings' own is meant."""
    if not toy or settings.prior == "ema":
        return None
    name, _, effort = settings.prior.partition(":")
    return get_prior(name, effort=effort, iterations=6, channels=(8, 8)) if name in ("self", "auto") else None


def _fit(
    bench: Bench,
    clock: Clock,
    block: Block,
    settings: FitConfig,
    row: Row,
    kept: list[EmgaussModel],
    reserve: float = 12.0,
) -> None:
    """Fit until the end or until the clock says so, scoring now and then; scoring does not count as time."""
    begun, aside, scored_at = time.perf_counter(), 0.0, -1e9
    few = block.scored[::4]
    curve: list[list[float]] = []
    first_iteration: tuple[float, int] | None = None
    finished = False
    with bench.peak(row):
        for update in fit(block.stack, settings, prior=_short_prior(settings, bench.toy)):
            now = time.perf_counter() - begun - aside
            if update.stage == "prior":
                row["prior_seconds"] = now
            elif first_iteration is None:
                first_iteration = (now, update.iteration)
            finished = update.finished
            if clock.left < reserve:
                break
            if update.stage == "teacher-student" and now - scored_at >= 2.0:
                paused = time.perf_counter()
                curve.append([round(now, 2), block.quality(block.rendered(update.model), few)["psnr"]])
                aside += time.perf_counter() - paused
                scored_at = now
        bench.wait()
    row["seconds"] = time.perf_counter() - begun - aside
    row["iterations"], row["of_iterations"] = update.iteration, update.total_iterations
    if first_iteration is not None and update.iteration > first_iteration[1]:
        row["ms_per_iteration"] = 1e3 * (row["seconds"] - first_iteration[0]) / (update.iteration - first_iteration[1])
    row["finished"] = finished
    row["gaussians"] = update.model.gaussian_count
    row.update(block.quality(block.rendered(update.model)))
    row["psnr_over_time"] = curve
    prior = update.model.provenance.get("prior") or {}
    row["chosen"] = str(prior.get("weights") or prior.get("prior") or "")
    kept.append(update.model)


def _export(bench: Bench, model: EmgaussModel) -> Iterator[Row]:
    """Single slices, and the isotropic volume to memory, from a fitted model."""
    _, height, width = model.shape
    first, last = float(model.z_nm[0]), float(model.z_nm[-1])
    row: Row = {"what": "export", "size": f"{height} x {width}", "gaussians": model.gaussian_count}

    def measure() -> None:
        middle = 0.5 * (first + last)
        side = 32 if bench.toy else 1024
        with bench.peak(row):
            row["slice_ms"] = bench.milliseconds(lambda: model.render(middle))
            z_nm = np.linspace(first, last, 8 if bench.toy else 64)
            region = (0.0, float(height), 0.0, float(width))
            row["slices_per_second_1024"] = (
                len(z_nm) / bench.milliseconds(lambda: model.render(z_nm, region=region, shape=(side, side)), 3) * 1e3
            )
            z_nm = np.arange(first, last + 1e-6, model.pixel_size_nm[0])
            model.render(z_nm[:2])
            begun = time.perf_counter()
            volume = model.render(z_nm)
            row["volume_mvoxel_per_second"] = volume.size / 1e6 / (time.perf_counter() - begun)

    yield guarded(row, measure)


def paper(bench: Bench, clock: Clock, presets: list[str]) -> Iterator[Row]:
    """The preset 'paper' for as long as there is time: seconds an iteration, and how far it came."""
    block = Block(bench.toy)
    settings = _settings("paper", bench, bench.device)
    row: Row = {"what": "fit", "method": "paper", "device": bench.device, "prior": settings.prior}
    yield guarded(row, lambda: _fit(bench, clock, block, settings, row, []))
    if row.get("ms_per_iteration"):
        row["whole_fit_seconds"] = row["ms_per_iteration"] * row["of_iterations"] / 1e3
        yield {
            "what": "paper",
            "whole_fit_seconds": row["whole_fit_seconds"],
            "from_iterations": row["iterations"],
            "extrapolated": not row["finished"],
        }


def steps(bench: Bench, clock: Clock, presets: list[str]) -> Iterator[Row]:
    """One iteration of the fit and of the prior's training, on the device and on the CPU, and what it waits for."""
    block = Block(bench.toy)
    jobs = {"fit, preset default": _fit_step, "training of the prior": _prior_step}
    # Recorded as CUDA graphs, too, where there is a card.
    variants = [(bench.device, False), (bench.device, True)] if bench.cuda else [(bench.device, False)]
    if bench.device != "cpu":
        variants.append(("cpu", False))
    for device, recorded in variants:
        for name, job in jobs.items():
            if clock.left < 15:
                return
            seconds = (0.15 if device.startswith("cuda") else 0.25) * clock.left
            row: Row = {"what": "step", "of": name, "device": device, "recorded": recorded}
            with _graphs(recorded):
                yield guarded(row, lambda r=row, j=job, d=device, s=seconds: j(bench, block, d, s, r))  # type: ignore[misc]
    found: list[Row] = []
    row = {"what": "profile", "error": None}
    guarded(row, lambda: found.extend(_profiles(bench, block)))
    yield from found if row["error"] is None else [row]
    found = []
    row = {"what": "waits", "error": None}
    guarded(row, lambda: found.extend(_waits(bench, block)))
    yield from found if row["error"] is None else [row]


@contextlib.contextmanager
def _graphs(recorded: bool) -> Iterator[None]:
    """Steps recorded as CUDA graphs, or not, whatever the environment says."""
    before = os.environ.get("EMGAUSS_CUDA_GRAPHS")
    os.environ["EMGAUSS_CUDA_GRAPHS"] = str(int(recorded))
    try:
        yield
    finally:
        del os.environ["EMGAUSS_CUDA_GRAPHS"]
        if before is not None:
            os.environ["EMGAUSS_CUDA_GRAPHS"] = before


def _iterations(block: Block, settings: FitConfig) -> Iterator[tuple[int, EmgaussModel]]:
    """Updates of a fit after its warm-up, with labels that cost nothing."""
    for update in fit(block.stack, settings):
        if update.stage == "teacher-student":
            yield update.iteration, update.model


def _plain_fit(bench: Bench, device: str) -> FitConfig:
    # Longer than the preset's own, so that even a toy sends more than one message; time cuts it short.
    return _settings("default", bench, device, prior="linear", iterations_per_slice=4000.0)


def _fit_step(bench: Bench, block: Block, device: str, seconds: float, row: Row) -> None:
    begun: tuple[float, int] | None = None
    end = time.perf_counter() + seconds
    model = None
    iteration = 0
    for iteration, fitted in _iterations(block, _plain_fit(bench, device)):
        model = fitted
        if begun is None:
            bench.wait()
            begun = (time.perf_counter(), iteration)
        elif time.perf_counter() > end:  # two messages are needed, however slow the machine
            break
    bench.wait()
    if begun is None or model is None or iteration == begun[1]:
        raise RuntimeError("no time for a second message of the fit")
    row["iterations"] = iteration - begun[1]
    row["ms"] = 1e3 * (time.perf_counter() - begun[0]) / row["iterations"]
    if device == bench.device:
        row["floor_ms"] = _fit_floor(bench, model)


def _fit_floor(bench: Bench, model: EmgaussModel) -> float:
    """Least time of an iteration: ellipses forwards and backwards, and the bytes of pictures, Adam and teacher."""
    _, height, width = model.shape
    with torch.no_grad():
        splats = model.cloud_list[0].splats([0.5])
    pairs = ellipse_pixels(splats.conics, splats.opacities)
    parameters = list(model.cloud_list[0].named_parameters())
    everything = sum(p.numel() for _, p in parameters)
    knots = [p.numel() for name, p in parameters if ".knots." in f".{name}."]
    touched = everything - sum(knots) + sum(knots[:2])
    # Adam reads value, gradient and two moments and writes three; the teacher's mean reads two and writes one; a loss
    # with SSIM keeps some ten pictures.
    nbytes = 28.0 * touched + 12.0 * everything + 80.0 * height * width + 200.0 * model.gaussian_count
    return bench.rates.floor_ms(nbytes, pairs * (FORWARD_FLOPS + BACKWARD_FLOPS))


def _train_prior(bench: Bench, block: Block, device: str, iterations: int, on_progress: Any = None) -> Any:
    from napari_emgauss.priors.learned._network import NetworkConfig
    from napari_emgauss.priors.learned._sampler import RowDropSampler
    from napari_emgauss.priors.learned._training import train_network
    from napari_emgauss.priors.learned._training_config import TrainingConfig

    images = block.stack.unit_slices()
    images = (images - images.mean()) / images.std()
    gaps = np.diff(block.stack.z_nm) / PIXEL_NM
    training = TrainingConfig(iterations, **({"batch": 2, "rows": 3, "columns": 16} if bench.toy else {}))
    nodes = block.factor - 1
    network = NetworkConfig(nodes, (8, 8), (1, 1)) if bench.toy else NetworkConfig(nodes)
    sampler = RowDropSampler(images, gaps, nodes, training, 0, torch.device(device))
    return training, train_network(
        sampler, network, training, seed=0, device=torch.device(device), on_progress=on_progress
    )


class _Enough(Exception):
    """Raised by a report of progress: there were iterations enough."""


def _prior_step(bench: Bench, block: Block, device: str, seconds: float, row: Row) -> None:
    end = time.perf_counter() + seconds
    reports: list[tuple[float, int]] = []
    iterations = 20 if bench.toy else 400

    def progress(message: Any) -> None:
        reports.append((time.perf_counter(), round(message.fraction * iterations)))
        if time.perf_counter() > end:
            raise _Enough

    with contextlib.suppress(_Enough):
        _train_prior(bench, block, device, iterations, progress)
    if len(reports) < 2:
        raise RuntimeError("no time for a second report of the training")
    (first, begun), (last, done) = reports[0], reports[-1]
    row["iterations"] = done - begun
    row["ms"] = 1e3 * (last - first) / (done - begun)
    if device == bench.device:
        row["floor_ms"] = _prior_floor(bench, block)


def _prior_floor(bench: Bench, block: Block) -> float:
    """Least time of a training step: the arithmetic of its convolutions at the speed of a matrix product."""
    from torch.utils.flop_counter import FlopCounterMode

    from napari_emgauss._torch._precision import low_precision

    with FlopCounterMode(display=False) as counter:
        _train_prior(bench, block, "cpu", 1)
    with low_precision(torch.device(bench.device)):
        low = torch.is_autocast_enabled(bench.device.split(":")[0])
    return bench.rates.floor_ms(0.0, float(counter.get_total_flops()), bfloat16=low)


def _profiles(bench: Bench, block: Block) -> Iterator[Row]:
    """What takes the time: the largest operations, and how long the device was busy."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * bench.cuda
    jobs: tuple[tuple[str, Callable[[], int]], ...] = (
        ("fit, preset default", lambda: _some_iterations(bench, block)),
        (
            "training of the prior",
            lambda: _train_prior(bench, block, bench.device, 3 if bench.toy else 40)[0].iterations,
        ),
    )
    for name, job in jobs:
        job()  # compiled and warm
        with profile(activities=activities) as recorded:
            begun = time.perf_counter()
            iterations = job()
            bench.wait()
            wall_ms = 1e3 * (time.perf_counter() - begun)
        events = recorded.key_averages()
        own = "self_device_time_total" if bench.cuda else "self_cpu_time_total"
        busy_ms = sum(getattr(e, own, 0.0) for e in events) / 1e3
        yield {
            "what": "profile",
            "of": name,
            "operation": "everything",
            "ms_per_iteration": busy_ms / iterations,
            "share": busy_ms / wall_ms,
            "launches_per_iteration": sum(e.count for e in events if "LaunchKernel" in e.key) / iterations,
        }
        largest = sorted(events, key=lambda e: getattr(e, own, 0.0), reverse=True)
        for event in largest[:8]:
            spent = getattr(event, own, 0.0) / 1e3
            yield {
                "what": "profile",
                "of": name,
                "operation": event.key[:60],
                "ms_per_iteration": spent / iterations,
                "share": spent / max(busy_ms, 1e-9),
            }


def _some_iterations(bench: Bench, block: Block) -> int:
    first = last = None
    for iteration, _ in _iterations(block, _plain_fit(bench, bench.device)):
        first = iteration if first is None else first
        last = iteration
        if not bench.toy and iteration - first >= 60:
            break
    return max(1, last or 1)


def _waits(bench: Bench, block: Block) -> Iterator[Row]:
    """Lines that make the host wait for the GPU, and how often; none should be met in every iteration."""
    if not bench.cuda:
        yield {"what": "waits", "of": "not on a GPU", "times": 0}
        return
    for name, job in (
        ("fit, preset default", lambda: _some_iterations(bench, block)),
        ("training of the prior", lambda: _train_prior(bench, block, bench.device, 40)[0].iterations),
    ):
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                iterations = job()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        lines = Counter(f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message).lower())
        yield {"what": "waits", "of": name, "line": "all", "times": sum(lines.values()), "iterations": iterations}
        for line, times in lines.most_common(8):
            yield {"what": "waits", "of": name, "line": line, "times": times, "iterations": iterations}
