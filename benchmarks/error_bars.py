"""Error bars: how much of the slices that were taken out lies within bands meant to hold 50, 90 and 95 % of it.

    python benchmarks/error_bars.py                                          # everything; an hour on two cores
    python benchmarks/error_bars.py --volumes fib25 --factors 8 --methods linear,emgauss:fast
    python benchmarks/error_bars.py --volumes phantom --crop 97 128 128 --output quick.json

Isotropic volumes are thinned out by each factor and compared with what was taken out, as ``emgauss evaluate`` does; of
vnc, which is really anisotropic, every second slice is hidden, as ``emgauss score`` does. The bars see the kept slices
alone. Every row is written as soon as it is there, and what the result has already is not measured again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from _machine import print_table, read_result, shared_data, write_result

from napari_emgauss._progress import Progress
from napari_emgauss.evaluation import Coverage, coverage_of, psnr, read_volume, reconstruction, thin
from napari_emgauss.fitting import preset
from napari_emgauss.stack import PhantomConfig, Stack, read_stack, sample_truth

Row = dict[str, Any]

ISOTROPIC = ("fib25", "epfl", "fib25_neurites", "phantom")
VOLUMES = (*ISOTROPIC, "vnc")
FACTORS = (5, 8, 10)
METHODS = ("emgauss:fast", "linear", "ensemble")
COLUMNS = ["volume", "factor", "method", "band_50", "band_90", "band_95", "worst_tenth", "worst_distance", "mean_sigma"]
NOTES = (
    "Share of the dropped slices' voxels within each band, in percent; then the tenth of σ and the distance from a "
    "kept slice at which a band is farthest from what it says, in points; and the mean σ in grey values. Keep slices "
    "0, f, 2f, …; of vnc every second slice is hidden. The bars have seen nothing of what is scored. Aimed at, for "
    "EMGauss with the preset fast on fib25 and epfl: 3 points overall, 6 in every tenth of σ and at every distance."
)


def main() -> int:
    """Measure what is missing."""
    arguments = parse()
    path = Path(arguments.output) if arguments.output else None
    before = read_result("error_bars", path)
    rows: list[Row] = [] if before is None else before["rows"]
    for volume in arguments.volumes:
        source = shared_data(f"{volume}.ome.tif")
        if source is None and volume != "phantom":
            print(f"{volume}.ome.tif is not there: set EMGAUSS_BENCHMARK_DATA (README.md).", file=sys.stderr)
            continue
        for factor in arguments.factors if volume in ISOTROPIC else [None]:
            for method in arguments.methods:
                here = {"volume": volume, "factor": factor, "method": method, "crop": arguments.crop}
                if any(all(row.get(key) == value for key, value in here.items()) for row in rows):
                    continue
                rows.append({**here, **measured(volume, source, factor, method, arguments.crop)})
                write_result("error_bars", rows, notes=NOTES, path=path, columns=COLUMNS)
                print_table(rows[-1:], COLUMNS)
    print_table(rows, COLUMNS)
    return 0


def measured(volume: str, source: Path | None, factor: int | None, method: str, crop: list[int] | None) -> Row:
    """Coverage of one method's bands."""
    config = preset(method.partition(":")[2] or "fast")
    began = time.perf_counter()
    if factor is None:
        stack = read_stack(source)
        count = stack.shape[0]
        kept = stack.select(range(0, count, 2))
        hidden = range(1, count - 1 if count % 2 else count - 2, 2)
        truth = np.stack([kept.normalisation.to_unit(np.asarray(stack.slices[k])) for k in hidden])
        z_nm = stack.z_nm[list(hidden)]
        distance = np.abs(z_nm[:, None] - kept.z_nm).min(axis=1)
    else:
        whole = phantom() if volume == "phantom" else read_volume(source)
        shape = whole.shape
        thinned = thin(whole, factor, crop=None if crop is None else tuple(map(min, crop, shape)))
        kept = thinned.stack
        truth, z_nm, distance = (one[thinned.dropped] for one in (thinned.truth, thinned.z_nm, thinned.distance))
    made = reconstruction(method, kept, z_nm, config, Progress())
    coverage = coverage_of(made, truth, made.images, z_nm, distance, kept.normalisation.ranges[0])
    if coverage is None:
        raise SystemExit(f"{method} has no error bars on {volume}.")
    row = as_row(coverage)
    row["prior"] = (made.about.get("prior") or {}).get("weights")
    row["psnr"] = round(float(np.mean([psnr(one, other) for one, other in zip(made.images, truth, strict=True)])), 2)
    row["seconds"] = round(time.perf_counter() - began, 1)
    return row


def as_row(coverage: Coverage) -> Row:
    """What the table shows, and the whole of it as curves."""
    pairs = zip(coverage.bands, coverage.overall, strict=True)
    bands = {f"band_{100 * band:.0f}": round(100 * share, 1) for band, share in pairs}
    return {
        **bands,
        "worst_tenth": worst(coverage, "by_sigma"),
        "worst_distance": worst(coverage, "by_distance"),
        "mean_sigma": round(float(np.mean([group.at for group in coverage.by_sigma])), 2),
        "coverage": coverage.as_dict(),
    }


def worst(coverage: Coverage, groups: str) -> float:
    """Points by which a band is off where it is farthest from what it says; positive where it holds too much."""
    off = [
        100 * (found - said)
        for group in getattr(coverage, groups)
        for found, said in zip(group.inside, coverage.bands, strict=True)
    ]
    return round(max(off, key=abs), 1)


def phantom() -> Stack:
    """Generated tissue that no network was trained on, isotropic."""
    return sample_truth(PhantomConfig(seed=101))


def parse() -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--volumes", type=lambda text: text.split(","), default=list(VOLUMES))
    parser.add_argument("--factors", type=lambda text: [int(one) for one in text.split(",")], default=list(FACTORS))
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--crop", nargs=3, type=int, metavar=("Z", "Y", "X"))
    parser.add_argument("--output")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
