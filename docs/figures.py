"""Draws the documentation's figures from a fit of the sample: ``python docs/figures.py`` (some minutes)."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

import napari_emgauss as emg

IMAGES = Path(__file__).resolve().parent / "images"


def main() -> None:
    """Fit, or take the model of ``make demo``, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a model of the sample, such as demo/model.safetensors")
    arguments = parser.parse_args()
    model = emg.load(arguments.model) if arguments.model else emg.run_fit(emg.sample_stack(), emg.preset("fast"))
    if not isinstance(model, emg.EmgaussModel):
        raise SystemExit("This needs a model that is one file.")
    draw_gaussians(model, IMAGES / "gaussians.png")


def draw_gaussians(model: emg.EmgaussModel, path: Path) -> None:
    """Three depths across one gap: the image, and a part of its Gaussians as ellipses of one standard deviation."""
    gap = len(model.z_nm) // 2
    depths = np.linspace(model.z_nm[gap], model.z_nm[gap + 1], 3)
    y0, y1, x0, x1 = region = (30, 110, 60, 160)
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    rng = np.random.default_rng(0)
    shown = None
    cloud = model.cloud_list[model.active(model.t_of(float(depths[1])))[0][0]]
    for column, z in enumerate(depths):
        with torch.no_grad():
            splats = cloud.splats([model.t_of(float(z))])
        means = splats.means.reshape(-1, 2).numpy()
        conics = splats.conics.reshape(-1, 3).double().numpy()
        opacities = splats.opacities.reshape(-1).numpy()
        values = splats.values.detach().reshape(len(means), -1)[:, 0].numpy()
        if shown is None:
            shown = rng.random(len(means)) < 0.1
        a, b, c = conics[shown].T
        covariance = np.linalg.inv(np.stack([np.stack([a, b], -1), np.stack([b, c], -1)], -2))
        widths, vectors = np.linalg.eigh(covariance)
        angles = np.degrees(np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1]))
        image = model.render(float(z), region=region)
        title = "between the slices" if column == 1 else "an observed slice"
        axes[0, column].imshow(image, cmap="gray", vmin=40, vmax=200, extent=(x0, x1, y1, y0))
        axes[0, column].set_title(f"z = {z:g} nm, {title}", fontsize=9)
        ellipses = EllipseCollection(
            2 * np.sqrt(widths[:, 1]),
            2 * np.sqrt(widths[:, 0]),
            angles,
            units="xy",
            offsets=means[shown],
            transOffset=axes[1, column].transData,
            array=values[shown],
            cmap="gray",
            alpha=np.clip(opacities[shown], 0.15, 0.9),
            edgecolor="tab:blue",
            linewidth=0.4,
        )
        axes[1, column].add_collection(ellipses)
        axes[1, column].set(xlim=(x0, x1), ylim=(y1, y0), aspect="equal", facecolor="0.85")
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
