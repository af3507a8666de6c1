"""Tiles: what they cost, whether their seams show, and how the cost grows.

    python benchmarks/tiles.py seams       # jumps across tile borders, and PSNR against the single fit
    python benchmarks/tiles.py growth      # CPU seconds per voxel from small to large slices
    python benchmarks/tiles.py workers     # two workers against one
    python benchmarks/tiles.py restart     # a worker killed in mid-tile, and the same bytes on another run
    python benchmarks/tiles.py allocator   # page faults of a fit, as dask starts workers and as we do
    python benchmarks/tiles.py memory      # a large stack on disk within a budget: a sample of tiles, the rest planned

Each writes results/tiles_NAME.json. `--quick` runs a small version. Times are CPU seconds of one thread, so that a
machine that does other things besides tells the same.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _machine import shared_data
from _seams import borders, depth_steps, fades, jump_ratio, seam_ratio, without
from _tile_bench import VOXEL_NM, finish, generated, in_child, run_command

SEAMS = {"fib25": ("default", 1.0, 65, "ensemble", (8, 16, 32)), "epfl": ("default", 1.0, 65, "ensemble", (16,))}
"""For each volume preset, share of its iterations, most slices before thinning, prior, and halos that are tried."""


def child_seams(
    volume: str,
    preset: str,
    scale: float,
    slices: int,
    side: int,
    shift: int,
    variants: list[dict[str, Any]],
    prior: str = "ensemble",
) -> dict[str, Any]:
    """Of a volume thinned out by 8: a single fit and fits in tiles, scored on the slices that were left out.

    Every tiling is made twice: of the whole, and of the part that begins at pixel (shift, shift), where the borders
    of the same tiles lie elsewhere.
    """
    import torch
    from skimage.metrics import peak_signal_noise_ratio

    from napari_emgauss import preset as named, read_stack, run_fit
    from napari_emgauss.tiles import TileSize, run_fit_tiles

    torch.set_num_threads(1)
    whole = read_stack(volume, allow_isotropic=True)
    whole = whole.select(range(min(slices, whole.shape[0] - (whole.shape[0] - 1) % 8)))
    whole = whole.crop((0, min(side, whole.shape[1]), 0, min(side, whole.shape[2])))
    stack = whole.keep_every(8)
    hidden = [k for k in range(whole.shape[0]) if k % 8]
    truth = np.stack([np.asarray(whole.slices[k]) for k in hidden])
    depths = whole.z_nm[hidden]
    config = named(preset, iterations_scale=scale, prior=prior)

    def tiled(of: Any, size: TileSize) -> tuple[np.ndarray, Any]:
        with tempfile.TemporaryDirectory() as folder:
            model = run_fit_tiles(of, config, folder=Path(folder) / "run", size=size)
            return model.render(depths), model.index.plan

    def quality(images: np.ndarray) -> float:
        return float(np.mean([peak_signal_noise_ratio(t, i) for t, i in zip(truth, images, strict=True)]))

    started = time.process_time()
    single = run_fit(stack, config).render(depths)
    single_cpu = time.process_time() - started
    rows = []
    for variant in variants:
        size = TileSize(**variant)
        started = time.process_time()
        images, plan = tiled(stack, size)
        tiled_cpu = time.process_time() - started
        row: dict[str, Any] = {
            "volume": Path(volume).name.split(".")[0],
            "preset": preset,
            "prior": prior,
            "iterations_scale": scale,
            "size": " x ".join(str(n) for n in whole.shape),
            "tiles": len(plan),
            **variant,
        }
        pictures = {"tiles": images, "single": single, "truth": truth}
        if len(plan.rows) > 1:
            moved, moved_plan = tiled(stack.crop((shift, stack.shape[1], shift, stack.shape[2])), size)
            row |= seam_figures(images, plan, moved, moved_plan, single, shift)
            row |= {f"jump_ratio_{name}": jump_ratio(found, plan) for name, found in pictures.items()}
        if len(plan.slices) > 1:
            steps = {name: depth_steps(found, depths, plan) for name, found in pictures.items()}
            row["depth_seam_ratio_to_single"] = steps["tiles"][0] / steps["single"][0]
            row |= {f"depth_jump_ratio_{name}": at / elsewhere for name, (at, elsewhere) in steps.items()}
        row["psnr_single"], row["psnr_tiles"] = quality(single), quality(images)
        row["psnr_difference"] = row["psnr_tiles"] - row["psnr_single"]
        row["cpu_ratio"] = tiled_cpu / single_cpu
        rows.append(row)
    return {"rows": rows}


def seam_figures(
    images: np.ndarray, plan: Any, moved: np.ndarray, moved_plan: Any, single: np.ndarray, shift: int
) -> dict[str, float]:
    """Seam ratios of two tilings, the second of the part that begins at pixel (shift, shift), and of a single fit."""
    part = (slice(None), slice(shift, None), slice(shift, None))
    first, alone = images[part], single[part]
    lines = borders(plan), borders(moved_plan, shift)
    found = {
        "seam_ratio": seam_ratio([(first, moved, lines[0]), (moved, first, lines[1])], shift),
        "seam_ratio_to_single": seam_ratio([(first, alone, lines[0]), (moved, alone, lines[1])], shift),
    }
    fading = fades(plan), fades(moved_plan, shift)
    only = without(fading[0], fading[1]), without(fading[1], fading[0])
    found["fade_ratio"] = seam_ratio([(first, moved, only[0]), (moved, first, only[1])], shift)
    return found


def seams(quick: bool) -> None:
    """Seams on fib25 and epfl, for several halos and for depth windows."""
    # A prior that learns is learned once for all tiles, on the whole volume: it can make no seams of its own.
    rows: list[dict[str, Any]] = []
    for name, (preset, scale, slices, prior, halos) in SEAMS.items():
        path = shared_data(f"{name}.ome.tif")
        if path is None:
            print(f"{name}.ome.tif is absent: left out.", file=sys.stderr)
            continue
        pixels, side, shift = (80, 160, 40) if quick else (128, 1000, 64)
        variants = [
            {"pixels": pixels, "halo_pixels": h, "window_slices": 24, "overlap_slices": 3}
            for h in ((16,) if quick else halos)
        ]
        if len(halos) > 1:
            variants.append({"pixels": 512, "halo_pixels": 16, "window_slices": 7, "overlap_slices": 3})
        found = in_child(
            "seams",
            volume=str(path),
            preset="fast" if quick else preset,
            scale=0.5 if quick else scale,
            slices=min(slices, 65) if quick else slices,
            side=side,
            shift=shift,
            variants=variants,
            prior=prior,
        )
        rows += found["rows"]
    finish(
        "tiles_seams",
        rows,
        "Every 8th slice kept, scored on the others. seam_ratio: mean absolute difference of neighbouring pixels "
        "across lines on which tiles meet, over that across the same lines in a second tiling whose borders lie "
        "elsewhere, both ways; seam_ratio_to_single: over that across the same lines in the single fit, which has no "
        "borders; fade_ratio: as seam_ratio, of all lines over which tiles fade into each other (the mean of two fits "
        "is smoother than one). depth_seam_ratio_to_single: the same from slice to slice where depth windows meet. "
        "jump_ratio and depth_jump_ratio compare borders with other places of the same picture, which show other "
        "tissue: by chance they are not 1 in the truth or in the single fit either.",
    )


def child_tiles(shapes: list[list[int]], settings: dict[str, Any]) -> dict[str, Any]:
    """CPU seconds of a tile of each shape, fitted side by side, a step of each in turn.

    Whatever else the machine does then slows all of them alike, and their ratio is that of their costs.
    """
    from napari_emgauss import preset as named, stack_from_array
    from napari_emgauss.tiles import TileSize, cut
    from napari_emgauss.tiles._task import TileProgress, fit_tile, peak_memory_mb, tile_task

    def started(shape: list[int], config: Any) -> Any:
        stack = stack_from_array(generated(*shape), VOXEL_NM)
        tile = cut(stack.shape, stack.z_nm, TileSize(pixels=max(shape))).tile((0, 0, 0))
        return fit_tile(tile_task(tile, stack, config, None, 1))

    # Compilation and imports are paid once a process, not once a tile.
    for _ in started([6, 80, 96], named("fast", prior="linear", iterations_scale=0.05)):
        pass
    config = named("default", **settings)
    fits = [started(shape, config) for shape in shapes]
    done, cpu = [0.0] * len(fits), [0.0] * len(fits)
    while min(done) < 2.0:
        k = done.index(min(done))
        before = time.process_time()
        step = next(fits[k], None)
        cpu[k] += time.process_time() - before
        done[k] = 2.0 if step is None else step.fraction if isinstance(step, TileProgress) else 1.0
    return {"cpu_s": cpu, "peak_memory_mb": peak_memory_mb()}


def growth(quick: bool) -> None:
    """CPU seconds per voxel for slices of 256² to 2048². One tile of each size is fitted; their number is known."""
    from napari_emgauss.tiles import TileSize, cut

    # The prior's cost is that of its labels, voxel by voxel; what could grow otherwise is the fit's.
    settings = {"iterations_scale": 0.02 if quick else 0.1, "prior": "linear"}
    depth = 6
    plans = {
        side: cut((depth, side, side), np.arange(depth) * VOXEL_NM[0], TileSize()) for side in (256, 512, 1024, 2048)
    }
    kinds = sorted({tuple(sorted(tile.shape)) for plan in plans.values() for tile in plan})
    found = in_child("tiles", shapes=kinds, settings=settings)
    costs = dict(zip(kinds, found["cpu_s"], strict=True))
    rows: list[dict[str, Any]] = []
    for side, plan in plans.items():
        total = sum(costs[tuple(sorted(tile.shape))] for tile in plan)
        cost = 1e6 * total / (depth * side**2)
        rows.append(
            {
                "side_pixels": side,
                "tiles": len(plan),
                "largest_tile": " x ".join(str(n) for n in plan.largest.shape),
                "overhead": plan.overhead,
                "cpu_us_per_voxel": cost,
                "over_first": cost / (rows[0]["cpu_us_per_voxel"] if rows else cost),
            }
        )
    finish(
        "tiles_growth",
        rows,
        f"Preset default with {settings}; CPU seconds of one thread. A tile of each size, all fitted side by side in "
        "steps so that other work on the machine slows them alike; overhead: voxels fitted, with halos, over voxels.",
        plot=[
            {"title": "Cost per voxel", "x": "side_pixels", "y": ["cpu_us_per_voxel"], "log": "x", "from_zero": True}
        ],
    )


def workers(quick: bool) -> None:
    """Wall and CPU time of one and of two workers on the same tiles. Wants two cores that do nothing else."""
    # In this order a machine that grows faster or slower meanwhile does so for both.
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for count in (1, 2) if quick else (1, 2, 2, 1):
        found[count].append(timed_run(count, iterations_scale=0.2 if quick else 1.0))
    rows: list[dict[str, Any]] = []
    for count, runs in found.items():
        row: dict[str, Any] = {"workers": count, "runs": len(runs)}
        row |= {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
        row["speed_up"] = rows[0]["wall_s"] / row["wall_s"] if rows else 1.0
        row["cpu_over_one"] = row["cpu_s"] / rows[0]["cpu_s"] if rows else 1.0
        rows.append({**row, "walls_s": [run["wall_s"] for run in runs]})
    finish(
        "tiles_workers",
        rows,
        "Means of runs in the order one, two, two, one; from the first progress of a tile to the end. busy_share: time "
        "that workers spent on tiles over the time they were there, whatever core they had; others_share: share of the "
        "machine's CPU time that neither workers nor the coordinator took nor left idle. Where that is not near 0, "
        "speed_up says what was left of the machine, not what workers gain.",
    )


def timed_run(count: int, iterations_scale: float) -> dict[str, float]:
    """Fit eight tiles with so many workers, and tell what time and CPU time that took."""
    import psutil

    from napari_emgauss import preset, stack_from_array
    from napari_emgauss.tiles import RunOptions, TileSize, fit_tiles

    def machine_cpu() -> float:
        """CPU seconds of the machine that were not idle."""
        times = psutil.cpu_times()
        return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))

    stack = stack_from_array(generated(8, 256, 512), VOXEL_NM)
    # A prior that learns would do so before the first tile, alone.
    config = preset("fast", prior="ensemble", iterations_scale=iterations_scale)
    begun = own = machine = wall = 0.0
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(workers=count)
        for update in fit_tiles(stack, config, folder=Path(folder) / "run", size=TileSize(128, 16), options=options):
            if not begun and update.running:  # the workers have started
                begun, own, machine = time.perf_counter(), time.process_time(), machine_cpu()
            if update.finished:
                wall = time.perf_counter() - begun
                own, machine = time.process_time() - own, machine_cpu() - machine
        log = [json.loads(line) for line in (Path(folder) / "run" / "log.jsonl").read_text().splitlines()]
    cpu, busy = (sum(entry[name] for entry in log) for name in ("cpu_seconds", "seconds"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "tiles": len(log),
        "wall_s": wall,
        "cpu_s": cpu,
        "coordinator_cpu_s": own,
        "busy_share": busy / (count * wall),
        "others_share": max(0.0, machine - cpu - own) / (cores * wall),
    }


def child_allocator(shape: list[int], scale: float) -> dict[str, float]:
    """A fit in a thread, as a dask worker runs it: CPU seconds of its own and of the system, and page faults."""
    import resource
    import threading

    import torch

    from napari_emgauss import preset, run_fit, stack_from_array

    torch.set_num_threads(1)
    stack = stack_from_array(generated(*shape), VOXEL_NM)
    config = preset("fast", prior="linear", iterations_scale=scale)
    run_fit(stack, preset("fast", prior="linear", iterations_scale=0.01))  # imports and compiles
    before = resource.getrusage(resource.RUSAGE_SELF)
    thread = threading.Thread(target=run_fit, args=(stack, config))
    thread.start()
    thread.join()
    after = resource.getrusage(resource.RUSAGE_SELF)
    own, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {
        "own_s": own,
        "system_s": system,
        "system_share": system / (own + system),
        "page_faults": after.ru_minflt - before.ru_minflt,
    }


def allocator(quick: bool) -> None:
    """The same fit with the limits of glibc's allocator that dask gives its workers, with ours, and with its own."""
    import dask
    import distributed  # noqa: F401  # brings its configuration

    from napari_emgauss.tiles._engine import _kept_memory

    given = {name: str(value) for name, value in dask.config.get("distributed.nanny.pre-spawn-environ").items()}
    limits = {
        "glibc's own": {},
        "dask's": {name: value for name, value in given.items() if name.startswith("MALLOC")},
        "ours": _kept_memory(),
    }
    shape, scale = ([4, 64, 64], 0.1) if quick else ([8, 256, 256], 1.0)
    rows = [
        {"limits": name, **in_child("allocator", started_with=environment, shape=shape, scale=scale)}
        for name, environment in limits.items()
    ]
    finish(
        "tiles_allocator",
        rows,
        f"Preset fast, prior linear, {shape[0]} x {shape[1]} x {shape[2]} generated voxels, one thread. Limits are "
        "those that a worker's process starts with. glibc only; other allocators pass them over.",
    )


def restart(quick: bool) -> None:
    """1024 x 1024 in nine tiles on two workers, one of them killed; then again in one process, for the same bytes."""
    import psutil

    from napari_emgauss import preset, stack_from_array
    from napari_emgauss.tiles import RunOptions, TileSize, fit_tiles

    stack = stack_from_array(generated(6, 1024, 1024), VOXEL_NM)
    config = preset("fast", prior="linear" if quick else "ensemble", iterations_scale=0.2 if quick else 1.0)
    rows = []
    contents = []
    for count in (2, None):
        with tempfile.TemporaryDirectory() as folder:
            run, killed, again = Path(folder) / "run", 0, 0
            options = RunOptions(workers=count)
            for update in fit_tiles(stack, config, folder=run, size=TileSize(342, 16), options=options):
                again += "fitted again" in update.text
                if count and not killed and len(update.running) == 2:
                    children = psutil.Process().children(recursive=True)
                    victims = [child for child in children if any("spawn_main" in word for word in child.cmdline())]
                    victims[0].kill()
                    killed += 1
            paths = [run / "index.json", *sorted((run / "tiles").iterdir())]
            contents.append([path.read_bytes() for path in paths])
            fitted = len((run / "log.jsonl").read_text().splitlines())
        rows.append(
            {
                "workers": count or 1,
                "tiles": update.tiles_total,
                "killed": killed,
                "told_fitted_again": again,
                "finished": update.finished,
                "tiles_written": fitted,
                "same_bytes": contents[0] == contents[-1],
            }
        )
    finish(
        "tiles_restart", rows, "A worker is killed with both in mid-tile; then the same in one process, undisturbed."
    )


def child_sample(path: str, folder: str, memory: str, only: list[int], preset: str, scale: float) -> dict[str, Any]:
    """Plan a stack in a file within a budget, fit a sample of its tiles, render through what there is."""
    from napari_emgauss import preset as named, read_stack
    from napari_emgauss.tiles import RunOptions, estimate, fit_tiles, parse_memory, plan_tiles
    from napari_emgauss.tiles._task import peak_memory_mb
    from napari_emgauss.volume import LazyVolume

    opened = read_stack(path, voxel_size_nm=VOXEL_NM)
    config = named(preset, iterations_scale=scale, prior="ensemble")
    arguments = (opened.z_nm, opened.pixel_size_nm, config)
    plan = plan_tiles(opened.shape, *arguments, memory_bytes=parse_memory(memory))
    told = estimate(plan, *arguments)
    full = estimate(plan, opened.z_nm, opened.pixel_size_nm, named(preset, prior="ensemble"))
    started = time.process_time()
    options = RunOptions(only=tuple(only))
    for update in fit_tiles(opened, config, folder=folder, size=plan.size, options=options):
        model = update.model
    cpu = time.process_time() - started
    after_fit = peak_memory_mb()
    volume = LazyVolume(model)
    for k in range(0, volume.shape[0], max(1, volume.shape[0] // 8)):
        np.asarray(volume[k])
    log = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return {
        "memory_allowed": memory,
        "stack_mb": int(np.prod(opened.shape)) / 1e6,
        "tiles": len(plan),
        "tile_shape": " x ".join(str(n) for n in told.tile_shape),
        "tiles_fitted": len(only),
        "peak_memory_mb": after_fit,
        "peak_with_rendering_mb": peak_memory_mb(),
        "estimated_memory_mb": told.memory_bytes / 2**20,
        "cpu_s_per_tile": cpu / len(only),
        "estimated_s_per_tile": told.tile_seconds,
        "disk_mb_per_tile": sum(path.stat().st_size for path in (Path(folder) / "tiles").iterdir()) / len(only) / 1e6,
        "planned_disk_gb": told.disk_bytes / 1e9,
        "extrapolated_cpu_h": cpu / len(only) * len(plan) / 3600,
        "planned_h_whole_preset": full.seconds / 3600,
        "gaussians_per_tile": int(np.mean([entry["gaussians"] for entry in log])),
    }


def memory(quick: bool) -> None:
    """4096 x 4096 x 24 on disk with 4 GB allowed: a sample of tiles, the rest planned."""
    import tifffile

    side, depth, scale = (2048, 12, 0.02) if quick else (4096, 24, 0.05)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generated.tif"
        pattern = generated(depth, 1024, 1024)
        with tifffile.TiffWriter(path, bigtiff=True) as file:
            for k in range(depth):
                plane = np.tile(pattern[k], (side // 1024, side // 1024))
                file.write(plane, tile=(256, 256), contiguous=False, metadata=None)
        found = in_child(
            "sample",
            path=str(path),
            folder=str(Path(folder) / "run"),
            memory="4GB",
            only=[5] if quick else [0, 27],
            preset="default",
            scale=scale,
        )
    row = {"size": f"{side} x {side} x {depth}", **found}
    finish(
        "tiles_memory",
        [row],
        f"A corner tile and inner ones fitted with {scale:g} of the preset's iterations, which peak memory does not "
        "depend on; extrapolated_cpu_h is for all tiles at that scale, planned_h_whole_preset for the whole preset.",
    )


CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {
    "seams": child_seams,
    "tiles": child_tiles,
    "sample": child_sample,
    "allocator": child_allocator,
}
COMMANDS: dict[str, Callable[[bool], None]] = {
    "seams": seams,
    "growth": growth,
    "workers": workers,
    "allocator": allocator,
    "restart": restart,
    "memory": memory,
}


if __name__ == "__main__":
    run_command(__doc__ or "", COMMANDS, CHILDREN)
