"""Peak memory of a fit and of an export against the size of the volume, each measured in a process of its own.

    python benchmarks/memory.py
    python benchmarks/memory.py --sides 128,256 --depths 50,200

Stacks are generated noise with blobs: memory depends on their size, not on what they show. A fit runs all its stages
with few iterations, which reaches its peak as well as a long one. Exports stream: their memory must not grow with
depth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _machine import print_table, write_result

SLICES = 16
STEP_NM, PIXEL_NM = 40.0, 5.0
NOTES = (
    "Highest resident memory of a process that does nothing else; the first row is the process with everything "
    "imported and no work done. Fits: 16 slices, all stages at a hundredth of their length, pseudo-labels of the prior "
    "named. "
    "Exports: OME-TIFF, the same model rendered at ever finer spacing."
)
PLOTS = [
    {
        "title": "Peak memory of a fit",
        "where": {"what": "fit"},
        "x": "side_pixels",
        "y": ["peak_memory_mb"],
        "x_label": "side of the slices (pixels)",
        "y_label": "MiB",
        "log": "xy",
    },
    {
        "title": "Peak memory of an export",
        "where": {"what": "export"},
        "x": "depth",
        "y": ["peak_memory_mb"],
        "x_label": "slices written",
        "y_label": "MiB",
        "log": "x",
        "from_zero": True,
    },
]


def generated_stack(side: int) -> Any:
    """``SLICES`` slices of ``side``² pixels: smooth blobs that move from slice to slice, with noise."""
    from napari_emgauss.stack import stack_from_array

    y, x = np.mgrid[:side, :side].astype(np.float32)
    random = np.random.default_rng(0)
    slices = np.empty((SLICES, side, side), np.uint8)
    for k in range(SLICES):
        blobs = np.sin(x / 9 + k / 3) * np.cos(y / 7 - k / 4)
        slices[k] = np.clip(128 + 70 * blobs + random.normal(0, 12, blobs.shape), 0, 255)
    return stack_from_array(slices, (STEP_NM, PIXEL_NM, PIXEL_NM), name="generated")


def child_imports(_options: dict[str, Any]) -> None:
    """Everything imported, nothing done."""
    from napari_emgauss.fitting import fit
    from napari_emgauss.render import choose_backend
    from napari_emgauss.volume import export

    if not (callable(fit) and callable(export)):
        raise SystemExit("nothing was imported")
    choose_backend("auto")


def child_fit(options: dict[str, Any]) -> None:
    """All stages of a fit, short; the model is kept where ``model`` says."""
    from napari_emgauss.fitting import preset, run_fit

    config = preset(options["preset"], prior=options["prior"], iterations_scale=0.01)
    model = run_fit(generated_stack(options["side"]), config)
    if options.get("model"):
        model.save(options["model"])


def child_export(options: dict[str, Any]) -> None:
    """A model rendered to a file of ``depth`` slices."""
    from napari_emgauss.render import load
    from napari_emgauss.volume import export

    model = load(options["model"])
    span = float(model.z_nm[-1] - model.z_nm[0])
    export(model, options["target"], spacing_nm=span / (options["depth"] - 1), overwrite=True)


CHILDREN: dict[str, Callable[[dict[str, Any]], None]] = {
    "imports": child_imports,
    "fit": child_fit,
    "export": child_export,
}


def in_child(what: str, **options: Any) -> float:
    """Peak resident memory, MiB, of a new process that does this."""
    command = [sys.executable, __file__, "--child", what, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{what} {options} failed:\n{done.stderr}")
    return float(done.stdout.strip().splitlines()[-1])


def peak_mb() -> float:
    """Highest resident memory of this process so far, MiB."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset / 2**20)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere


def main() -> int:
    """Measure, print, write."""
    arguments = parse()
    if arguments.child is not None:
        what, options = arguments.child
        CHILDREN[what](json.loads(options))
        print(peak_mb())
        return 0

    rows: list[dict[str, Any]] = [{"what": "imports", "peak_memory_mb": in_child("imports")}]
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.safetensors")
        for side in arguments.sides:
            for prior in arguments.priors:
                settings = {"side": side, "preset": arguments.preset, "prior": prior, "model": model}
                peak = in_child("fit", **settings)
                rows.append({"what": "fit", "side_pixels": side, "prior": prior, "peak_memory_mb": peak})
                print(rows[-1], file=sys.stderr)
        side = arguments.sides[-1]  # the model that was fitted last
        for depth in arguments.depths:
            peak = in_child("export", model=model, target=str(Path(folder) / "volume.ome.tif"), depth=depth)
            megavoxels = depth * side * side / 1e6
            rows.append(
                {
                    "what": "export",
                    "side_pixels": side,
                    "depth": depth,
                    "megavoxels": megavoxels,
                    "peak_memory_mb": peak,
                }
            )
            print(rows[-1], file=sys.stderr)
    print_table(rows, ["what", "side_pixels", "prior", "depth", "megavoxels", "peak_memory_mb"])
    print(
        write_result(
            "memory", rows, notes=NOTES, path=arguments.output, slices=SLICES, preset=arguments.preset, plot=PLOTS
        )
    )
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=_numbers, default=[128, 256, 512, 1024], help="sides of the fits, pixels")
    parser.add_argument("--depths", type=_numbers, default=[61, 241, 961], help="slices of the exports")
    parser.add_argument(
        "--priors", type=lambda text: text.split(","), default=["ensemble"], help="pseudo-labels of the fits"
    )
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--output", metavar="FILE", help="result file (default: results/memory.json)")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "OPTIONS"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main())
