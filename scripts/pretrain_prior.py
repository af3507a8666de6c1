"""Make the weights that the self-supervised prior starts from, on generated phantoms alone.

    python scripts/pretrain_prior.py                      # about 12 minutes on one core with bfloat16
    python scripts/pretrain_prior.py --steps 20 --output /somewhere/trial.safetensors

Phantoms are drawn at many sizes, sharpnesses and noise levels; rows are dropped at gaps of 4 to 16 pixels. Real data
never enters.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter, zoom

from napari_emgauss.priors.learned._generic import GAPS_PX, WEIGHTS, GenericNetwork
from napari_emgauss.priors.learned._sampler import RowDropSampler
from napari_emgauss.priors.learned._training import schedule
from napari_emgauss.priors.learned._training_config import TrainingConfig
from napari_emgauss.priors.learned._training_step import TrainingStep
from napari_emgauss.stack.phantom._neuropil import fill_tissue, lay_neurites
from napari_emgauss.stack.phantom._ultrastructure import paint

SIDE = 250
"""Pixels of a picture."""


def phantom_pictures(seed: int, pictures: int) -> list[NDArray[np.float16]]:
    """Slices of one phantom: zoomed, blurred, textured and noisy, each in its own way; standardised."""
    shape = (56, 330, 330)
    tissue_random = np.random.default_rng(1000 + seed)
    neurites = lay_neurites(shape, tissue_random)
    volume = paint(fill_tissue(shape, neurites, tissue_random), neurites, tissue_random).astype(np.float32)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(pictures):
        picture = volume[int(random.integers(len(volume)))]
        size = float(np.exp(random.uniform(np.log(0.8), np.log(2.6))))
        stretch = float(np.exp(random.normal(0, 0.12)))
        picture = zoom(picture, (size * stretch, size / stretch), order=1 if size < 1.2 else 3)
        if min(picture.shape) < SIDE:
            picture = np.pad(picture, [(0, max(0, SIDE - n)) for n in picture.shape], mode="reflect")
        top, left = (int(random.integers(n - SIDE + 1)) for n in picture.shape)
        picture = gaussian_filter(picture[top : top + SIDE, left : left + SIDE], random.uniform(0, 1.3))
        picture = (picture - picture.mean()) / picture.std()
        if random.random() < 0.15:
            picture = -picture
        if random.random() < 0.5:
            strength = random.uniform(0, 0.35)
            grains = random.standard_normal(picture.shape)
            texture = gaussian_filter(grains, random.uniform(1.0, 2.5))
            picture = picture + strength * texture / texture.std()
        noise = gaussian_filter(random.standard_normal(picture.shape), random.uniform(0, 0.8))
        picture = picture + random.uniform(0.03, 0.5) * noise / noise.std()
        drawn.append(((picture - picture.mean()) / picture.std()).astype(np.float16))
    return drawn


def train(pictures: NDArray[np.float32], steps: int) -> dict[str, torch.Tensor]:
    """Averaged weights of a `GenericNetwork` after ``steps`` steps, each at a gap drawn at random."""
    config = TrainingConfig(steps)
    samplers = {gap: RowDropSampler(pictures, np.full(40, float(gap)), gap - 1, config, gap) for gap in GAPS_PX}
    torch.manual_seed(0)
    network = GenericNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training_step = TrainingStep(network, torch.device("cpu"))
    random = np.random.default_rng(0)
    errors: dict[int, list[float]] = {}
    for step in range(steps):
        share = schedule(step, steps)
        network.gap_px = int(random.choice(GAPS_PX))
        decay = min(config.ema_decay, (1 + step) / (10 + step))
        rates = config.learning_rate * share, config.outer_learning_rate * share
        error = training_step(samplers[network.gap_px].draw(), *rates, decay)
        errors.setdefault(network.gap_px, []).append(float(error))
        if step % 100 == 99:
            means = {gap: round(float(np.mean(values[-9:])), 3) for gap, values in sorted(errors.items())}
            print(f"step {step + 1} of {steps}, squared error by gap: {means}", flush=True)
    training_step.finish()
    return {name: value.detach() for name, value in network.named_parameters()}


def main() -> None:
    """Draw the phantoms, train, and write the weights in half precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--phantoms", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=24, help="of each phantom")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pictures = [p for seed in range(arguments.phantoms) for p in phantom_pictures(seed, arguments.pictures)]
    print(f"{len(pictures)} pictures of phantoms", flush=True)
    weights = train(np.stack(pictures).astype(np.float32), arguments.steps)
    halves = {name: value.half().contiguous() for name, value in weights.items()}
    temporary = arguments.output.with_name(arguments.output.name + ".part")
    save_file(halves, temporary, metadata={"made by": "scripts/pretrain_prior.py", "trained on": "generated phantoms"})
    os.replace(temporary, arguments.output)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
