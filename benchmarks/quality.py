"""Quality of every method on the shared volumes: PSNR, SSIM and FSIM against the slices that were taken out.

    python benchmarks/quality.py                                       # everything; hours on two cores
    python benchmarks/quality.py --volumes fib25 --factors 8 --methods linear,ensemble,emgauss:fast
    python benchmarks/quality.py --crop 97 128 128 --output quick.json

Every score is written as soon as it is there, and what the result file has already is not measured again: an
interrupted run goes on with the same command. ``--again LIST`` measures those methods anew.

Isotropic volumes (fib25, epfl) are thinned out by each factor and compared with the truth, as ``emgauss evaluate``
does. Of vnc, which is really anisotropic, every second slice is hidden, as ``emgauss score`` does.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _machine import describe, plain, print_table, read_result, shared_data, write_result

from napari_emgauss.evaluation import classical_methods, evaluate, read_volume, score
from napari_emgauss.fitting import preset

ISOTROPIC = ("fib25", "epfl")
ANISOTROPIC = ("vnc",)
FACTORS = (5, 8, 10)
METHODS = (*classical_methods(), "self", "emgauss:fast", "emgauss:default")
NOTES = (
    "Keep slices 0, f, 2f, …; xy is the mean over dropped slices between the first and the last kept one, xz and yz "
    "are means over whole planes. 8-bit grey values over 255; SSIM with a Gaussian window of 1.5. Rows of vnc are the "
    "hold-out score: every second slice hidden, gaps twice as wide as in the stack."
)

Row = dict[str, Any]


def main() -> int:
    """Measure what is missing, cell by cell."""
    arguments = parse()
    path = Path(arguments.output) if arguments.output else None
    before = read_result("quality", path)
    rows: list[Row] = [] if before is None else before["rows"]
    failed = 0
    for volume in arguments.volumes:
        source = shared_data(f"{volume}.ome.tif")
        if source is None:
            print(
                f"{volume}.ome.tif is not there: set EMGAUSS_BENCHMARK_DATA to its folder (README.md).", file=sys.stderr
            )
            failed += 1
            continue
        for factor in arguments.factors if volume in ISOTROPIC else [None]:
            cell = Cell(volume, source, factor, arguments, rows, path)
            failed += cell.run()
    print_table(
        rows,
        [
            "volume",
            "factor",
            "method",
            "xy_psnr",
            "xy_ssim",
            "xy_fsim",
            "xz_psnr",
            "yz_psnr",
            "seconds",
            "peak_memory_mb",
        ],
    )
    return int(failed > 0)


class Cell:
    """One volume at one factor: the methods that are not in the result yet."""

    def __init__(
        self,
        volume: str,
        source: Path,
        factor: int | None,
        arguments: argparse.Namespace,
        rows: list[Row],
        path: Path | None,
    ) -> None:
        self.volume, self.source, self.factor = volume, source, factor
        self.arguments, self.rows, self.path = arguments, rows, path

    def run(self) -> int:
        """Measure and keep; returns how many methods failed."""
        known = {row["method"] for row in self.rows if self._here(row)} - set(self.arguments.again)
        missing = [method for method in self.arguments.methods if method not in known]
        if not missing:
            return 0
        print(f"{self.volume} ×{self.factor or 'hold-out'}: {', '.join(missing)}", file=sys.stderr)
        measure = self._thinned if self.factor is not None else self._hidden
        try:
            measure(missing)  # all at once: the truth's share of the work is done only once
            return 0
        except Exception:
            traceback.print_exc()
        # One method failed. The others are measured one by one, so that it costs only itself.
        failed = 0
        done = {row["method"] for row in self.rows if self._here(row)} - set(self.arguments.again)
        for method in [one for one in missing if one not in done]:
            try:
                measure([method])
            except Exception:
                traceback.print_exc()
                failed += 1
        return failed

    def _here(self, row: Row) -> bool:
        return bool(row["volume"] == self.volume and row["factor"] == self.factor and row["crop"] == self._crop())

    def _crop(self) -> list[int] | None:
        return None if self.arguments.crop is None or self.factor is None else list(self.arguments.crop)

    def _thinned(self, methods: list[str]) -> None:
        def keep(result: Any) -> None:
            values: Row = {}
            for view in ("xy", "xz", "yz"):
                values |= {f"{view}_{name}": value for name, value in getattr(result, view).as_dict().items()}
            curve = [[one.distance, one.scores.psnr] for one in result.by_distance]
            self._keep(
                result.method,
                {
                    **values,
                    "seconds": result.seconds,
                    "peak_memory_mb": result.peak_memory_mb,
                    "xy_psnr_by_distance": curve,
                    "prior": chosen_prior(result.about),
                },
            )

        evaluate(
            read_volume(self.source),
            self.factor or 0,
            methods=methods,
            crop=self.arguments.crop,
            config=self._config(),
            on_progress=progress(),
            on_result=keep,
        )

    def _hidden(self, methods: list[str]) -> None:
        from napari_emgauss.stack import read_stack

        def keep(result: Any) -> None:
            values = {f"xy_{name}": value for name, value in result.mean.as_dict().items()}
            self._keep(result.method, {**values, "seconds": result.seconds, "prior": chosen_prior(result.about)})

        score(
            read_stack(self.source),
            methods=methods,
            config=self._config(),
            on_progress=progress(),
            on_result=keep,
        )

    def _config(self) -> Any:
        return preset("default", seed=self.arguments.seed, device=self.arguments.device)

    def _keep(self, method: str, values: Row) -> None:
        machine = describe()
        row = {
            "volume": self.volume,
            "factor": self.factor,
            "crop": self._crop(),
            "method": method,
            **plain(values),
            "seed": self.arguments.seed,
            "commit": machine["commit"],
            "cpu": machine["cpu"],
            "gpu": machine["gpu"],
            "cores": machine["cores"],
        }
        self.rows[:] = [one for one in self.rows if not (self._here(one) and one["method"] == method)] + [row]
        self.rows.sort(key=order)
        write_result("quality", self.rows, notes=NOTES, path=self.path)
        print_table([row], ["method", "xy_psnr", "xy_ssim", "xy_fsim", "seconds"])


def order(row: Row) -> tuple[int, int, int, str]:
    """Volumes, factors and methods as tables show them; unknown methods last."""
    volumes, methods = (*ISOTROPIC, *ANISOTROPIC), METHODS
    volume = volumes.index(row["volume"]) if row["volume"] in volumes else len(volumes)
    method = methods.index(row["method"]) if row["method"] in methods else len(methods)
    return volume, row["factor"] or 0, method, row["method"]


def chosen_prior(about: dict[str, Any]) -> str | None:
    """What made a method's slices or a fit's pseudo-labels, as text: ``0.7 self + 0.3 ensemble``."""
    prior = about.get("prior")
    if not isinstance(prior, dict):
        return None if prior is None else str(prior)
    weights = prior.get("weights")
    if not isinstance(weights, dict):
        return prior.get("prior") or prior.get("name")
    if len(weights) == 1:
        return str(next(iter(weights)))
    return " + ".join(f"{weight:.2g} {name}" for name, weight in weights.items())


def progress() -> Callable[[Any], None]:
    """A line on stderr now and then: a run of hours should show that it lives."""
    last = [0.0]

    def tell(update: Any) -> None:
        if time.monotonic() - last[0] > 30:
            last[0] = time.monotonic()
            print(f"  {update.fraction:4.0%} {update.text}", file=sys.stderr, flush=True)

    return tell


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: [word for word in text.split(",") if word]  # noqa: E731
    parser.add_argument("--volumes", type=words, default=[*ISOTROPIC, *ANISOTROPIC])
    parser.add_argument("--factors", type=lambda text: [int(word) for word in words(text)], default=list(FACTORS))
    parser.add_argument("--methods", type=words, default=list(METHODS), help=f"default: {','.join(METHODS)}")
    parser.add_argument("--again", type=words, default=[], metavar="LIST", help="measure these methods anew")
    parser.add_argument("--crop", type=int, nargs=3, metavar=("Z", "Y", "X"), help="first voxels only (not of vnc)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", metavar="FILE", help="result file (default: results/quality.json)")
    arguments = parser.parse_args()
    arguments.crop = None if arguments.crop is None else tuple(arguments.crop)
    unknown = [name for name in arguments.volumes if name not in (*ISOTROPIC, *ANISOTROPIC)]
    if unknown:
        parser.error(f"unknown volumes: {', '.join(unknown)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
