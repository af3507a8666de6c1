"""Score the learned priors (``self``, ``auto``) on the shared volumes with the protocol of the quality tables.

Any setting of the prior can be changed, so that a row of benchmarks/notes/priors.md is one call:

    python benchmarks/prior_learned.py fib25 epfl --factors 8 --set iterations=900 --set rotations_deg=[0]

The time told is CPU seconds of the process (all threads).
"""

from __future__ import annotations

import argparse
import json
import time

from prior_classical import observe, score

from napari_emgauss.priors import get_prior


def main() -> None:
    """Print one line per volume and factor, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--factors", type=int, nargs="+", default=[5, 8, 10])
    parser.add_argument("--prior", default="self")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a setting of the prior")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="file to append one JSON line per result to")
    arguments = parser.parse_args()
    settings = {}
    for item in arguments.set:
        name, _, value = item.partition("=")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
        if isinstance(settings[name], list):
            settings[name] = tuple(settings[name])
    import torch

    torch.set_num_threads(arguments.threads)
    for volume in arguments.volumes:
        for factor in arguments.factors:
            truth, observation = observe(volume, factor)
            began, began_cpu = time.perf_counter(), time.process_time()
            interpolator = get_prior(arguments.prior, **settings).prepare(observation, seed=arguments.seed)
            wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
            report = getattr(interpolator, "report", {})  # of priors that learn
            psnr, ssim = score(truth, interpolator, factor)
            print(f"{volume} x{factor} {arguments.prior} {psnr:.2f} dB / {ssim:.4f}  {cpu:.0f} CPU s, {wall:.0f} s")
            print("   ", json.dumps(report), flush=True)
            if arguments.json:
                row = {"volume": volume, "factor": factor, "prior": arguments.prior, "psnr": psnr, "ssim": ssim}
                with open(arguments.json, "a", encoding="utf-8") as file:
                    file.write(json.dumps({**row, "cpu_s": cpu, "report": report}) + "\n")


if __name__ == "__main__":
    main()
