"""What whole fits take, from the command line, beside what `emgauss plan` says of them beforehand.

    python benchmarks/whole_fits.py                       # a quarter of an hour on two fast cores
    python benchmarks/whole_fits.py --rows cube:fast

Every eighth slice is kept. A cube is fib25 and a crop epfl, fitted in one piece; a block is epfl, mirrored to 161 x 768
x 1024 voxels, fitted in tiles by two workers. Where the training of a prior may end early, a plan tells two times; that
of the crop does, that of the cube does not.
Seconds are wall time of the process, from its start to its end. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from _machine import print_table, shared_data, write_result

FACTOR = 8
VOLUMES = {"cube": ("fib25", 8.0), "crop": ("epfl", 5.0), "block": ("epfl", 5.0)}
"""File, and side of a voxel in nm."""
BLOCK = (161, 768, 1024)
ROWS = ("cube:fast", "cube:default", "crop:default", "block:fast")


def kept_slices(name: str, folder: Path) -> Path | None:
    """The kept slices of a volume as a file; None where it is absent."""
    volume, voxel_nm = VOLUMES[name]
    source = shared_data(f"{volume}.ome.tif")
    if source is None:
        return None
    path = folder / f"{name}.ome.tif"
    sizes = {"PhysicalSizeZ": FACTOR * voxel_nm, "PhysicalSizeY": voxel_nm, "PhysicalSizeX": voxel_nm}
    units = {f"{axis}Unit": "nm" for axis in sizes}
    values = np.asarray(tifffile.imread(source))
    if name == "block":  # mirrored to the size of a whole block
        short = [(0, max(0, whole - here)) for whole, here in zip(BLOCK, values.shape, strict=True)]
        values = np.pad(values, short, mode="symmetric")[: BLOCK[0], : BLOCK[1], : BLOCK[2]]
    tifffile.imwrite(path, values[::FACTOR], metadata={"axes": "ZYX", **sizes, **units})
    return path


def emgauss(*arguments: str) -> str:
    """Run the command line; what it prints."""
    command = [sys.executable, "-m", "napari_emgauss.cli", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(stack: Path, name: str, preset: str, more: list[str]) -> dict[str, Any]:
    """One row: what is planned, and what it takes."""
    workers = ["--workers", "2"] if name == "block" else []
    options = [str(stack), "--preset", preset, *workers, *more]
    plan = json.loads(emgauss("plan", *options, "--json"))
    planned = plan["estimate"] if workers else plan["in_one_piece"]
    model = stack.with_name("model.emgauss" if workers else "model.safetensors")
    start = time.perf_counter()
    emgauss("fit", *options, "--quiet", "--force", "-o", str(model))
    taken = time.perf_counter() - start
    return {
        "volume": name,
        "preset": preset,
        "tiles": plan["estimate"]["tiles"] if workers else 1,
        "workers": 2 if workers else None,
        "seconds": taken,
        "planned_seconds": planned["seconds"],
        "planned_if_early_seconds": planned["least_seconds"],
    }


def main() -> int:
    """Run the rows and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="further settings of the fits")
    parser.add_argument("--output", help="file to write in place of results/whole_fits.json")
    arguments = parser.parse_args()
    more = [word for setting in arguments.set for word in ("--set", setting)]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in arguments.rows:
            name, _, preset = row.partition(":")
            stack = kept_slices(name, Path(folder))
            if stack is None:
                print(
                    "The volume is not there: set EMGAUSS_BENCHMARK_DATA to the folder of benchmark volumes.",
                    file=sys.stderr,
                )
                return 1
            rows.append(measured(stack, name, preset, more))
            print_table(rows)
            write_result(
                "whole_fits",
                rows,
                notes="Every eighth slice kept: cube, fib25, 32 x 250 x 250, and crop, epfl, 20 x 256 x 256, in one "
                "piece; block, epfl mirrored, 21 x 768 x 1024, in tiles by two workers. Wall seconds of the whole "
                "command. Planned if early: where the training of the prior ends as soon as it may, as that of the "
                "crop does.",
                path=arguments.output,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
