"""How well mitochondria survive: a fixed segmenter on true and on reconstructed slices of epfl.

    python benchmarks/masks.py
    python benchmarks/masks.py --factors 8 --methods linear,ensemble

The forest learns from true slices of the left half and is applied in the right half, as ``emgauss evaluate --masks``
does. What the result has already is not measured again.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from _machine import plain, print_table, read_result, shared_data, write_result

from napari_emgauss.evaluation import evaluate_masks, read_volume

METHODS = ("nearest", "linear", "linear+blur", "ensemble", "emgauss:fast")
NOTES = (
    "Soft intersection over union (sum of minima over sum of maxima; no threshold) of the forest's probabilities with "
    "the expert's masks (region), within 5 pixels of their outlines (boundary), and with its probabilities on the true "
    "slices (agreement). 48 dropped slices. The row 'truth' is the forest on the true slices; it is no upper limit for "
    "the masks, since the forest reads single noisy slices worse than smooth ones: agreement tells what was lost."
)
COLUMNS = ["volume", "factor", "method", "region_iou", "boundary_iou", "agreement_iou"]


def main() -> int:
    """Measure what is missing."""
    arguments = parse()
    paths = shared_data("epfl.ome.tif"), shared_data("epfl_mito.ome.tif")
    if None in paths:
        print("epfl.ome.tif and epfl_mito.ome.tif are not there: set EMGAUSS_BENCHMARK_DATA.", file=sys.stderr)
        return 1
    volume, masks = (read_volume(path) for path in paths if path is not None)
    before = read_result("masks", arguments.output)
    rows: list[dict[str, Any]] = [] if before is None else before["rows"]
    for factor in arguments.factors:
        known = {row["method"] for row in rows if row["factor"] == factor}
        for method in arguments.methods:
            if method in known:
                continue
            print(f"×{factor}: {method}", file=sys.stderr)
            result = evaluate_masks(volume, masks, factor, methods=[method])
            for name in ("truth", method):
                if name not in known:
                    known.add(name)
                    scores = result.methods[name].as_dict()
                    rows.append({"volume": volume.name, "factor": factor, "method": name, **plain(scores)})
            rows.sort(key=lambda row: row["factor"])
            write_result("masks", rows, notes=NOTES, path=arguments.output, columns=COLUMNS, segmenter=result.segmenter)
    print_table(rows, COLUMNS)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factors", type=lambda text: [int(word) for word in text.split(",")], default=[8])
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--output", metavar="FILE", help="result file (default: results/masks.json)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
