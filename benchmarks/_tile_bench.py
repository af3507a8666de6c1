"""What benchmarks of tiles and of estimates share: a generated stack, and work in processes of their own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from _machine import print_table, write_result

VOXEL_NM = (64.0, 8.0, 8.0)


def generated(depth: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Grey blobs and lines that drift from slice to slice: something to fit, of any size, slice by slice."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    coarse = [gaussian_filter(rng.normal(size=(height, width)).astype(np.float32), s, mode="wrap") for s in (2.5, 7.0)]
    coarse = [image / image.std() for image in coarse]
    out = np.empty((depth, height, width), np.uint8)
    for k in range(depth):
        drift = [np.roll(image, (k * step, -k), (0, 1)) for step, image in zip((1, 2), coarse, strict=True)]
        membrane = np.exp(-((drift[0] / 0.25) ** 2))
        out[k] = np.clip(150 + 25 * drift[1] - 80 * membrane + rng.normal(0, 6, (height, width)), 0, 255)
    return out


def in_child(task: str, started_with: dict[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
    """Run a task of the command (see `run_command`) in a process of its own: its memory and time are then its own.

    With one thread.
    """
    environment = {
        **os.environ,
        **(started_with or {}),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, sys.argv[0], "child", task, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{task} {arguments} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_command(
    about: str, commands: Mapping[str, Callable[[bool], None]], tasks: Mapping[str, Callable[..., dict[str, Any]]]
) -> None:
    """Run the command that was typed, or, in a process that `in_child` started, its task."""
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(tasks[sys.argv[2]](**json.loads(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=sorted(commands))
    parser.add_argument("--quick", action="store_true", help="a small version")
    arguments = parser.parse_args()
    commands[arguments.command](arguments.quick)


def finish(name: str, rows: list[dict[str, Any]], notes: str, **extra: Any) -> None:
    """Print the table and write the result."""
    print_table(rows)
    print(write_result(name, rows, notes=notes, **extra))
