"""How well labels are carried between labelled slices, on volumes whose every slice is labelled.

    python benchmarks/labels.py
    python benchmarks/labels.py --volumes fib25_neurites --factors 8

Every F-th slice keeps its labels and its grey values: a model is fitted to those (preset ``fast``), labels are carried
along it, and every dropped slice is compared. ``whole pixels`` are signed distances as usually taken, ``edt(outside) -
edt(inside)`` with its jump of two pixels at the outline; ``truth`` carries labels along the *true* slices, which nobody
has: a bound. What the result has already is not measured again.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from _machine import plain, print_table, read_result, shared_data, write_result

import napari_emgauss as emg
from napari_emgauss.labels import CarriedLabels, agreement, choose_method, label_slices

VOLUMES = {
    "fib25_neurites": ("fib25_neurites.ome.tif", "fib25_neurites_labels.ome.tif", 8.0),
    "epfl_mito": ("epfl.ome.tif", "epfl_mito.ome.tif", 5.0),
}
METHODS = ("nearest", "whole pixels", "distances", "model", "truth")
COLUMNS = ["volume", "factor", "method", "voxels", "dice", "voi_bit", "adapted_rand_error", "auto", "scale"]
NOTES = (
    "Means over the dropped slices that were looked at (one gap in --stride). nearest: the nearest labelled "
    "slice; whole pixels: mean of signed distances as usually taken; distances: the same with outlines between pixels; "
    "model: along motion, to the membranes that the model shows; truth: as model, along the true slices (a bound). "
    "Auto: what the method auto takes. Scale: of the iterations of the fit."
)


def main() -> int:
    """Measure what is missing."""
    arguments = parse()
    before = read_result("labels", arguments.output)
    rows: list[dict[str, Any]] = [] if before is None else before["rows"]
    for name in arguments.volumes:
        grey_file, label_file, pixel_nm = VOLUMES[name]
        paths = shared_data(grey_file), shared_data(label_file)
        if paths[0] is None or paths[1] is None:
            print(f"{grey_file} and {label_file} are not there: set EMGAUSS_BENCHMARK_DATA.", file=sys.stderr)
            return 1
        import tifffile

        grey, labels = (tifffile.imread(path) for path in paths)
        for factor in arguments.factors:
            known = {row["method"] for row in rows if (row["volume"], row["factor"]) == (name, factor)}
            wanted = [method for method in METHODS if method in arguments.methods and method not in known]
            if wanted:
                settings = emg.preset("fast", iterations_scale=arguments.scale)
                found = measure(grey, labels, factor, pixel_nm, wanted, arguments.stride, settings)
                rows += [{"volume": name, "factor": factor, **row, "scale": arguments.scale} for row in found]
                write_result("labels", rows, notes=NOTES, path=arguments.output, columns=COLUMNS)
    print_table(rows, COLUMNS)
    return 0


def measure(
    grey: Any, labels: Any, factor: int, pixel_nm: float, methods: list[str], stride: int, settings: emg.FitConfig
) -> list[dict[str, Any]]:
    """Rows of one volume at one factor."""
    count = (len(grey) - 1) // factor
    kept = slice(0, count * factor + 1, factor)
    stack = emg.stack_from_array(grey[kept], voxel_size_nm=(pixel_nm * factor, pixel_nm, pixel_nm))
    model = emg.run_fit(stack, settings) if "model" in methods else _Frame(stack)
    sparse = label_slices(labels[kept], model, labelled=range(count + 1))
    truth = _Truth(stack, grey, pixel_nm)
    gaps = range(0, count, stride)
    dropped = [g * factor + j for g in gaps for j in range(1, factor)]
    true = [labels[k] for k in dropped]
    rows = []
    for method in methods:
        print(f"×{factor}: {method}", file=sys.stderr)
        if method == "whole pixels":
            guesses = [_whole_pixels(labels, k, factor) for k in dropped]
        elif method == "truth":
            carried = CarriedLabels(label_slices(labels[kept], truth, labelled=range(count + 1)), truth)
            guesses = [carried.render(k * pixel_nm) for k in dropped]
        else:
            carried = CarriedLabels(sparse, model, method=method)
            guesses = [carried.render(k * pixel_nm) for k in dropped]
        found = agreement(guesses, true)
        rows.append(
            plain(
                {
                    "method": method,
                    "voxels": round(found.voxels.mean, 5),
                    "voxels_low": round(found.voxels.low, 5),
                    "voxels_high": round(found.voxels.high, 5),
                    "dice": round(found.dice.mean, 5),
                    "voi_bit": round(found.voi.mean, 5),
                    "adapted_rand_error": round(found.adapted_rand_error.mean, 5),
                    "slices": len(dropped),
                    "auto": choose_method(sparse, model) if method == "model" else None,
                }
            )
        )
    return rows


class _Frame:
    """A stack as methods see it that look at no picture."""

    channels, version, confidence = 1, 0, None

    def __init__(self, stack: Any) -> None:
        self.z_nm, self.pixel_size_nm, self.shape = stack.z_nm, stack.pixel_size_nm, stack.shape
        self.dtype, self.provenance = np.dtype(np.uint8), {}

    def render(self, z_nm: Any, *, region: Any = None, shape: Any = None) -> Any:
        raise NotImplementedError


class _Truth(_Frame):
    """The true slices as a model."""

    def __init__(self, stack: Any, grey: Any, pixel_nm: float) -> None:
        super().__init__(stack)
        self._grey, self._pixel_nm = grey, pixel_nm

    def render(self, z_nm: Any, *, region: Any = None, shape: Any = None) -> Any:
        y0, y1, x0, x1 = (0, self.shape[1], 0, self.shape[2]) if region is None else (int(v) for v in region)
        numbers = np.rint(np.asarray(z_nm) / self._pixel_nm).astype(int)
        return self._grey[numbers][..., y0:y1, x0:x1]


def _whole_pixels(labels: Any, k: int, factor: int) -> Any:
    """Mean of signed distances per object, as usually taken."""
    from scipy.ndimage import distance_transform_edt

    above, below = labels[k // factor * factor], labels[(k // factor + 1) * factor]
    u = k % factor / factor
    best, out = np.full(above.shape, np.inf), np.zeros_like(above)
    for number in np.union1d(above, below):
        distances = []
        for image in (above, below):
            inside = image == number
            distances.append(distance_transform_edt(~inside) - distance_transform_edt(inside) if inside.any() else None)
        first, second = distances
        first = np.full(above.shape, -second.min()) if first is None else first
        second = np.full(above.shape, -first.min()) if second is None else second
        mean = (1 - u) * first + u * second
        closer = mean < best
        best[closer], out[closer] = mean[closer], number
    return out


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", nargs="+", default=list(VOLUMES), choices=list(VOLUMES))
    parser.add_argument("--factors", nargs="+", type=int, default=[4, 8, 10])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--stride", type=int, default=4, help="look at one gap in so many")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the iterations of the fit")
    parser.add_argument("--output", help="file to write in place of results/labels.json")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
