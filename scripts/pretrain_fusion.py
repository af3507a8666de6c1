"""Make the weights that correct the fused slices of the self-supervised prior, on generated phantoms alone.

    python scripts/pretrain_fusion.py answers/                      # about 40 minutes on one core with bfloat16
    python scripts/pretrain_fusion.py answers/ --draw-only --first 17 --every 2     # the same shared by two processes,
    python scripts/pretrain_fusion.py answers/ --draw-only --first 18 --every 2     # before the call above

For every phantom a prior is trained on its kept slices, as for any stack, and asked for the slices between; what its
families of planes say is kept in the folder. Then the `FusionNetwork` learns to make the phantoms' truth of that. Real
data never enters.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter, zoom
from torch import Tensor
from torch.nn import functional as F

from napari_emgauss._torch._precision import low_precision
from napari_emgauss.priors import Observation
from napari_emgauss.priors.learned import _planes as planes
from napari_emgauss.priors.learned._fusion import WEIGHTS, FusionNetwork, fusion_features
from napari_emgauss.priors.learned._sampler import log_gaps
from napari_emgauss.priors.learned._self import SelfPrior, SelfPriorConfig
from napari_emgauss.priors.learned._square_pixels import gaps_in_pixels
from napari_emgauss.priors.learned._training import schedule
from napari_emgauss.priors.learned._turned import turned
from napari_emgauss.stack.phantom._neuropil import fill_tissue, lay_neurites
from napari_emgauss.stack.phantom._ultrastructure import paint

CPU = torch.device("cpu")
SIDE = 128
"""Pixels of a phantom's slices."""
PATCH, BATCH, LEARNING_RATE, EMA_DECAY = 64, 16, 3e-3, 0.998
SSIM_WEIGHT = 0.15
"""Weight of 1 - SSIM (structure and contrast, against noisy slices) beside the squared error."""
CONTRAST_FLOOR = 0.05
"""Of SSIM, in standardised grey values: (0.03)² of the unit range where the standard deviation is about 0.135."""


def phantom(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """Truth and noisy volume, ``(Z, SIDE, SIDE)`` standardised, and the gap in pixels between kept slices."""
    random = np.random.default_rng(5000 + seed)
    gap = int(random.choice([5, 6, 8, 8, 10, 12, 16]))
    depth = (int(min(11, 2 + 80 // gap))) * gap + 1
    size = float(np.exp(random.uniform(np.log(0.9), np.log(2.2))))
    wanted = (int(depth / size) + 3, int(SIDE / size) + 3, int(SIDE / size) + 3)
    drawn = tuple(max(40, n) for n in wanted)
    tissue_random = np.random.default_rng(9000 + seed)
    neurites = lay_neurites(drawn, tissue_random)
    tissue = fill_tissue(drawn, neurites, tissue_random)
    volume = paint(tissue, neurites, tissue_random).astype(np.float32)[tuple(slice(n) for n in wanted)]
    random.normal(0, 0.08)  # not used; without it the phantoms that the shipped weights saw would be others
    volume = zoom(volume, (size, size, size), order=1 if size < 1.2 else 3)[:depth, :SIDE, :SIDE]
    volume = gaussian_filter(volume, random.uniform(0, 1.2))
    volume = (volume - volume.mean()) / volume.std()
    if random.random() < 0.5:
        texture = gaussian_filter(random.standard_normal(volume.shape, dtype=np.float32), random.uniform(1, 2.5))
        volume = volume + random.uniform(0, 0.35) * texture / texture.std()
    sharpness = random.uniform(0, 0.8) if random.random() < 0.5 else 0.0
    noise = random.standard_normal(volume.shape, dtype=np.float32)
    if sharpness:  # noise that was resampled within its slice
        noise = gaussian_filter(noise, (0, sharpness, sharpness))
    noisy = volume + random.uniform(0.05, 0.6) * noise / noise.std()
    level, spread = noisy.mean(), noisy.std()
    return (volume - level) / spread, ((noisy - level) / spread).astype(np.float32), gap


class _OneFamily(planes._Sums):
    """What one family of planes says, each voxel by itself instead of summed up."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, CPU, with_squares=False)
        self.mean, self.log_variance = torch.empty(shape), torch.empty(shape)

    def add(self, where: Any, mean: Tensor, log_variance: Tensor) -> None:
        self.mean[where], self.log_variance[where] = mean, log_variance


def answers(seed: int) -> dict[str, NDArray[np.float16]]:
    """What four families of planes say of a phantom's dropped slices, with these, the kept ones and the truth."""
    truth, noisy, gap = phantom(seed)
    random = np.random.default_rng(7000 + seed)
    depths = np.arange(0, len(noisy), gap, dtype=np.float64)
    observation = Observation(np.ascontiguousarray(noisy[::gap]), depths, (1.0, 1.0))
    config = SelfPriorConfig(iterations=int(random.choice([40, 70])), warm_start=True)
    learned = SelfPrior(config).learn(observation, seed=seed)
    images = (observation.images - learned.level) / learned.spread
    gaps = log_gaps(gaps_in_pixels(observation), learned.usual_gap_px)
    mirrored = bool(random.random() < 0.7)
    means, log_variances = [], []
    shape = (len(gaps), learned.network.config.nodes, *images.shape[1:])
    for angle in (0.0, 45.0):
        seen = torch.from_numpy(np.ascontiguousarray(turned(images, angle)))
        for axis in (1, 2):
            said = _OneFamily(shape)
            log_gap = torch.from_numpy(gaps)
            planes._add_family(said, learned.network, seen, log_gap, axis, angle, mirrored, CPU, lambda part: None)
            means.append(said.mean.numpy())
            log_variances.append(said.log_variance.numpy())

    def between(volume: NDArray[np.float32]) -> NDArray[np.float32]:
        standardised = (volume - learned.level) / learned.spread
        return np.stack([standardised[k * gap + 1 : (k + 1) * gap] for k in range(len(gaps))])

    kept = {
        "means": np.stack(means, 2),
        "log_variances": np.stack(log_variances, 2),
        "images": images,
        "truth": between(truth),
        "noisy": between(noisy),
    }
    return {name: array.astype(np.float16) for name, array in kept.items()}


def draw_batch(
    phantoms: list[dict[str, NDArray[np.float16]]], random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Features ``(B, 9, P, P)``, truth and noisy truth ``(B, P, P)``: patches turned and mirrored at random."""
    families = 4 if random.random() < 0.7 else 2
    rows = []
    for _ in range(BATCH):
        one = phantoms[int(random.integers(len(phantoms)))]
        gaps, nodes, _, height, width = one["means"].shape
        gap, node = int(random.integers(gaps)), int(random.integers(nodes))
        top, left = int(random.integers(height - PATCH + 1)), int(random.integers(width - PATCH + 1))
        here = np.s_[..., top : top + PATCH, left : left + PATCH]
        parts = [
            one["means"][gap, node, :families],
            one["log_variances"][gap, node, :families],
            one["images"][gap : gap + 2],
            one["truth"][gap, node][None],
            one["noisy"][gap, node][None],
        ]
        stacked = np.concatenate([part[here].astype(np.float32) for part in parts])
        if random.random() < 0.5:
            stacked = stacked[:, ::-1]
        if random.random() < 0.5:
            stacked = stacked[:, :, ::-1]
        if random.random() < 0.5:
            stacked = stacked.swapaxes(1, 2)
        tensors = torch.from_numpy(np.ascontiguousarray(stacked)).split([families, families, 1, 1, 1, 1])
        means, log_variances, above, below, *wanted = tensors
        seen = features_of(means, log_variances, above, below, (node + 1) / (nodes + 1), nodes + 1)
        rows.append((seen, *wanted))
    features, truth, noisy = (torch.cat([row[k] for row in rows]) for k in range(3))
    return features, truth, noisy


def features_of(
    means: Tensor, log_variances: Tensor, above: Tensor, below: Tensor, position: float, gap: int
) -> Tensor:
    """What the network sees of one patch, from families ``(F, P, P)``, fused as `predict_between` does."""
    precision = torch.exp(-log_variances.clamp(-8, 8))
    total = precision.sum(0, keepdim=True)
    mean = (precision * means).sum(0, keepdim=True) / total
    spread = ((precision * (means - mean) ** 2).sum(0, keepdim=True) / total).clamp_min(1e-8).sqrt()
    log_variance = torch.log(len(means) / total)
    return fusion_features(mean, spread, log_variance, above, below, torch.tensor([position]), float(gap))


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Mean of SSIM's contrast and structure term over ``(B, P, P)``, Gaussian window of 1.5."""
    taps = torch.exp(-(torch.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps = taps / taps.sum()

    def blur(images: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(images[:, None], taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))

    mean_first, mean_second = blur(first), blur(second)
    covariance = blur(first * second) - mean_first * mean_second
    variances = blur(first * first) - mean_first**2 + blur(second * second) - mean_second**2
    return ((2 * covariance + CONTRAST_FLOOR) / (variances + CONTRAST_FLOOR)).mean()


def train(phantoms: list[dict[str, NDArray[np.float16]]], steps: int, ssim_weight: float) -> dict[str, Tensor]:
    """Averaged weights of a `FusionNetwork` after ``steps`` steps of AdamW."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    network = FusionNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-4)
    averaged = [parameter.detach().clone() for parameter in network.parameters()]
    recent: list[float] = []
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * schedule(step, steps)
        features, truth, noisy = draw_batch(phantoms, random)
        with low_precision(CPU):
            slices = network(features.contiguous(memory_format=torch.channels_last))
        error = ((slices - truth) ** 2).mean((1, 2))
        before = ((features[:, 0] - truth) ** 2).mean((1, 2))
        # A share of what was wrong before: phantoms without much noise count as much as noisy ones.
        loss = (error / (before + 0.02)).mean()
        if ssim_weight:
            loss = loss + ssim_weight * (1 - structural_similarity(slices, noisy))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        torch._foreach_lerp_(averaged, [parameter.detach() for parameter in network.parameters()], 1 - decay)
        recent.append(float((error.detach() / before).mean()))
        if step % 100 == 99:
            print(
                f"step {step + 1} of {steps}, squared error over that of the mean {np.mean(recent[-100:]):.3f}",
                flush=True,
            )
    names = [name for name, _ in network.named_parameters()]
    return dict(zip(names, averaged, strict=True))


def main() -> None:
    """Draw the phantoms that are missing in the folder, train, and write the weights in half precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the planes' answers are kept")
    parser.add_argument("--first", type=int, default=17, help="seed of the first phantom")
    parser.add_argument("--last", type=int, default=44, help="seed of the last phantom")
    parser.add_argument("--every", type=int, default=1, help="draw every so many seeds only")
    parser.add_argument("--draw-only", action="store_true", help="do not train")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--ssim-weight", type=float, default=SSIM_WEIGHT)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    paths = [arguments.folder / f"{s}.npz" for s in range(arguments.first, arguments.last + 1, arguments.every)]
    for path in paths:
        if not path.exists():
            found = answers(int(path.stem))
            temporary = path.with_name(path.name + ".part")
            with open(temporary, "wb") as file:
                np.savez(file, **found)
            os.replace(temporary, path)
            print(f"phantom {path.stem}: gaps of {found['truth'].shape[1] + 1} pixels", flush=True)
    if arguments.draw_only:
        return
    phantoms: list[dict[str, Any]] = []
    for path in paths:
        with np.load(path) as file:
            phantoms.append(dict(file))
    weights = train(phantoms, arguments.steps, arguments.ssim_weight)
    halves = {name: value.half().contiguous() for name, value in weights.items()}
    part = arguments.output.with_name(arguments.output.name + ".part")
    save_file(halves, part, metadata={"made by": "scripts/pretrain_fusion.py", "trained on": "generated phantoms"})
    os.replace(part, arguments.output)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
