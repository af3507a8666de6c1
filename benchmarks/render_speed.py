"""Renderers on this machine's processor against the plain torch reference: size x number of Gaussians.

    python benchmarks/render_speed.py
    python benchmarks/render_speed.py --threads 1 --sizes 250x20000

Times are the shortest of several calls, CPU time that of all threads of the process. The reference is our own twin of
the renderer, already cut into tiles; without that it would take tens of times longer still.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from _clouds import cloud
from _machine import print_table, write_result

from napari_emgauss.render import splat, warm_up

SIZES = ((128, 2_500), (250, 5_000), (250, 20_000), (512, 50_000), (1024, 150_000))
REFERENCE_UP_TO = 512


def shortest(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Shortest wall and CPU time of a call, milliseconds."""
    wall, processor = [], []
    for _ in range(repeats):
        begun, spent = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - begun)
        processor.append(time.process_time() - spent)
    return min(wall) * 1e3, min(processor) * 1e3


def measure(side: int, count: int, backend: str, repeats: int) -> dict[str, Any]:
    """One row: pictures, pictures with gradients."""
    inputs = cloud(side, count)
    weights = torch.rand(1, 1, side, side)

    def picture() -> None:
        with torch.no_grad():
            splat(**inputs, size=(side, side), backend=backend)

    def picture_and_gradients() -> None:
        splat(**inputs, size=(side, side), backend=backend).backward(weights)

    forward, _ = shortest(picture, repeats)
    both, processor = shortest(picture_and_gradients, repeats)
    return {
        "size": side,
        "gaussians": count,
        "backend": backend,
        "forward_ms": forward,
        "forward_backward_ms": both,
        "forward_backward_cpu_ms": processor,
        "frames_per_second": 1e3 / forward,
    }


def save(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Write what there is: after every size, so that stopping early loses nothing."""
    write_result(
        "render_speed",
        rows,
        notes=f"Threads: {arguments.threads}; float32, one channel, shortest of {arguments.repeats} calls (reference: "
        "2). Ratios are of CPU time for picture and gradients; with one thread waiting does not enter it.",
        load_average=round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        threads=arguments.threads,
        plot=[
            {
                "title": "Picture and gradients",
                "x": "gaussians",
                "y": ["forward_backward_ms"],
                "series": "backend",
                "log": "xy",
                "x_label": "Gaussians",
                "y_label": "ms",
            }
        ],
    )


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", metavar="SIDExGAUSSIANS", help="for example 250x20000")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--no-reference", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = SIZES if arguments.sizes is None else [tuple(map(int, s.split("x"))) for s in arguments.sizes]
    warm_up()
    rows: list[dict[str, Any]] = []
    for side, count in sizes:
        fast = measure(side, count, "cpu", arguments.repeats)
        if arguments.no_reference or side > REFERENCE_UP_TO:
            fast["faster_than_reference"] = None
            rows.append(fast)
        else:
            slow = measure(side, count, "reference", 2)
            # CPU time, so that what else runs on the machine does not enter the ratio.
            fast["faster_than_reference"] = slow["forward_backward_cpu_ms"] / fast["forward_backward_cpu_ms"]
            slow["faster_than_reference"] = 1.0
            rows += [fast, slow]
        print_table(rows)
        save(rows, arguments)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
