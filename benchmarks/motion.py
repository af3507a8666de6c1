"""Gaussians as more than a copy of their prior: observed slices, moved along what the model shows, mixed into it.

    python benchmarks/motion.py --crop 97 128 128    # fib25 and epfl, x8: ten minutes
    python benchmarks/motion.py                      # the same, whole

A model that was fitted to labels of a prior knows how its Gaussians move through a gap, and every slice that it renders
there is another step for an optical flow. Along either, the two observed slices around a gap can be brought to any
depth in it, with all that was measured in them. Scored are the model, these slices, and mixtures of both. The prior is
``self`` without the slices that it carries itself, which is what came of this.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
import torch
from _fitting import Cell, _scores, cell
from _machine import print_table, write_result
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from napari_emgauss.fitting import preset, run_fit
from napari_emgauss.labels._motion import gap_motion
from napari_emgauss.priors import blur_slices, get_prior
from napari_emgauss.render import EmgaussModel, splat

SHARES = (0.2, 0.35, 0.5)
"""Of the moved slices in a mixture."""


@torch.no_grad()
def gaussian_motion(model: EmgaussModel, t: float, to: float) -> NDArray[np.float32]:
    """Displacement ``(2, H, W)``, rows and columns: the mean over the Gaussians that paint a pixel at ``t``."""
    (cloud,) = model.cloud_list
    splats = cloud.splats([t, to])
    moved = splats.means[1] - splats.means[0]
    values = torch.stack([moved[:, 1], moved[:, 0], torch.ones(len(moved))], dim=1)
    painted = splat(splats.means[:1], splats.conics[:1], splats.opacities[:1], values, model.size)[0]
    return (painted[:2] / painted[2].clamp(min=1e-3)).numpy()


def warped(image: NDArray[np.float32], displacement: NDArray[np.float32]) -> NDArray[np.float32]:
    """The slice looked up where each pixel comes from."""
    to = np.indices(image.shape, dtype=np.float32) + displacement
    return np.asarray(map_coordinates(image, to, order=3, mode="nearest"), dtype=np.float32)


def rows_of(where: Cell, preset_name: str, scale: float) -> list[dict[str, Any]]:
    """Scores of the model, of moved slices and of mixtures, over the dropped slices."""
    start = time.process_time()
    prior = get_prior("self:fast" if preset_name == "fast" else "self", carried=0.0)
    model = run_fit(where.stack, preset(preset_name, iterations_scale=scale), prior=prior)
    fit_seconds = time.process_time() - start
    z_nm = np.arange(len(where.truth)) * where.step_nm
    shown = model.render(z_nm).astype(np.float32) / 255
    truth = where.truth.astype(np.float32) / 255
    kept, f = truth[:: where.factor], where.factor
    dropped = np.flatnonzero(np.arange(len(truth)) % f)
    moved: dict[str, list[NDArray[np.float32]]] = {"flow": [], "Gaussians": []}
    for gap in range(len(kept) - 1):
        inside = shown[gap * f : (gap + 1) * f + 1].copy()
        inside[0], inside[-1] = kept[gap], kept[gap + 1]
        flow = gap_motion(inside, tuple(np.arange(f + 1) / f))
        ends = [model.t_of(float(where.stack.z_nm[gap + k])) for k in (0, 1)]
        for step in range(1, f):
            u, t = np.float32(step / f), model.t_of(float(z_nm[gap * f + step]))
            along = {"flow": flow.at(step / f)[0], "Gaussians": [gaussian_motion(model, t, end) for end in ends]}
            for name, (above, below) in along.items():
                moved[name].append((1 - u) * warped(kept[gap], above) + u * warped(kept[gap + 1], below))
    ours = shown[dropped]
    rows = [{"image": "model", **_scores(ours, truth[dropped]), "fit_cpu_seconds": fit_seconds}]
    for name, images in moved.items():
        slices = np.stack(images)
        rows.append({"image": f"slices moved along {name}", **_scores(slices, truth[dropped])})
        for kind, part in (("", slices), (", blurred", blur_slices(slices))):
            for share in SHARES:
                mixed = (1 - share) * ours + np.float32(share) * part
                rows.append({"image": f"{share:.0%} of them{kind}, along {name}", **_scores(mixed, truth[dropped])})
    return rows


def main() -> int:
    """Fit, move, mix, score, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--volumes", nargs="+", default=["fib25", "epfl"])
    parser.add_argument("--factor", type=int, default=8)
    parser.add_argument("--crop", type=int, nargs=3, metavar=("Z", "Y", "X"), help="first voxels of the volume")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--scale", type=float, default=1.0, help="iterations_scale")
    parser.add_argument("--output", help="file to write in place of results/motion.json")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in arguments.volumes:
        where = cell(name, arguments.factor, arguments.crop and tuple(arguments.crop))
        if where is None:
            print(f"{name} is not there: set EMGAUSS_BENCHMARK_DATA to the folder of volumes.", file=sys.stderr)
            continue
        of = {"volume": name, "factor": arguments.factor}
        rows += [{**of, **row} for row in rows_of(where, arguments.preset, arguments.scale)]
        print_table(rows)
        crop = " x ".join(map(str, arguments.crop)) + " voxels" if arguments.crop else "whole volumes"
        notes = f"Preset {arguments.preset}, {crop}; means over dropped slices, which no fit has seen."
        write_result("motion", rows, notes=notes, path=arguments.output)
    return 0 if rows else 1


if __name__ == "__main__":
    raise SystemExit(main())
