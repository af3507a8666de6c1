"""How much better a prior could be: the learned prior beside priors that know what nobody can know.

    python benchmarks/prior_bounds.py --volumes epfl fib25 --factors 5 8 10

Scored on one half of every slice, every third gap:

- ``learned``: the prior ``self``, trained within the kept slices, as in use;
- ``learned from the truth``: the same network, trained as long on true planes along z of the *other* half, dropped
  slices included, so that nothing hangs on whether tissue looks alike along z and within the slices;
- ``learned, put in place``: the first, every slice shifted as a whole (first order) to where the truth is. Slices of a
  microscope do not lie exactly above each other, and where a dropped one lay cannot be known;
- ``noise alone``: the truth against itself without noise, by the median of its slices' finest diagonal Haar wavelets
  (Donoho and Johnstone 1994).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from _machine import print_table, write_result
from numpy.typing import NDArray
from prior_classical import observe
from scipy.ndimage import gaussian_filter

from napari_emgauss.evaluation import psnr, ssim
from napari_emgauss.priors import Interpolator, LearnedPrior, Observation, SelfPrior, SelfPriorConfig, get_prior
from napari_emgauss.priors.learned._network import NetworkConfig
from napari_emgauss.priors.learned._sampler import PatchPlan, RowDropSampler
from napari_emgauss.priors.learned._training import train_network
from napari_emgauss.priors.learned._training_config import TrainingConfig

EVERY = 3
"""Gaps scored: every so many."""
MARGIN = 8
"""Pixels beside the middle that are not scored: the network looks so far."""


class TruePlanes(RowDropSampler):
    """Patches of planes along z of the truth's first half ``(Z, H, W)``, rows kept where slices are kept."""

    def __init__(self, truth: NDArray[np.float32], gaps_px: NDArray[np.float64], nodes: int, config: TrainingConfig):
        half = truth[:, :, : truth.shape[2] // 2]
        width = half.shape[2]
        # Planes of the other family are longer: they are cut into pieces of this width.
        along, across = half.transpose(1, 0, 2), half.transpose(2, 0, 1)
        pieces = [across[:, :, start : start + width] for start in range(0, half.shape[1] - width + 1, width)]
        super().__init__(np.concatenate([along, *pieces]), gaps_px, nodes, config, seed=0)

    def plan(self, steps: int) -> PatchPlan:
        """As for any sampler, without turning planes on their side: depth is the row."""
        plan = super().plan(steps)
        _, height, width = self.shape
        count = len(plan.image)
        return replace(
            plan,
            transposed=np.zeros(count, dtype=np.bool_),
            top=self._random.integers(0, height - plan.offsets[:, -1]),
            left=self._random.integers(0, width - self.columns + 1, count),
        )


def learned_from_truth(truth: NDArray[np.float32], observation: Observation, config: SelfPriorConfig) -> LearnedPrior:
    """The prior ``self`` with a network trained on planes along z of the truth's first half."""
    images = observation.images
    level, spread = float(images.mean()), float(images.std())
    gaps = np.diff(observation.z_nm) / observation.pixel_size_nm[0]
    nodes = int(np.median(gaps)) - 1
    training = TrainingConfig(config.iterations)
    standardised = (truth - np.float32(level)) / np.float32(spread)
    network, _ = train_network(
        TruePlanes(standardised, gaps, nodes, training),
        NetworkConfig(nodes, config.channels),
        training,
        seed=0,
        device=torch.device("cpu"),
    )
    return LearnedPrior(network, level, spread, float(np.median(gaps)), config, 0)


def put_in_place(guess: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """``guess`` shifted as a whole to where ``truth`` is, by least squares on its gradient."""
    down, along = np.gradient(gaussian_filter(guess, 0.5))
    terms = np.stack([down.ravel(), along.ravel()])
    shift = np.linalg.solve(terms @ terms.T, terms @ (truth - guess).ravel())
    return np.asarray(guess + (shift @ terms).reshape(guess.shape), np.float32)


def noise_of(image: NDArray[np.float32]) -> float:
    """Standard deviation of white noise."""
    even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    diagonal = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
    return float(np.median(np.abs(diagonal)) / 0.6745)


def scores(
    interpolator: Interpolator, truth: NDArray[np.float32], factor: int, *, placed: bool = False
) -> tuple[float, float]:
    """Mean PSNR (dB) and SSIM over dropped slices of the second half."""
    second = np.s_[:, truth.shape[2] // 2 + MARGIN :]
    rows = []
    for z in range(len(truth)):
        if z % factor == 0 or (z // factor) % EVERY:
            continue
        guess, true = interpolator.at(float(z)).image[second], truth[z][second]
        guess = put_in_place(guess, true) if placed else guess
        rows.append((psnr(guess, true), ssim(guess, true)))
    mean = np.mean(rows, axis=0)
    return float(mean[0]), float(mean[1])


def measure(volume: str, factor: int, iterations: int) -> list[dict[str, Any]]:
    """Rows of one volume and factor."""
    truth, observation = observe(volume, factor)
    found: dict[str, tuple[float, float | None]] = {}
    for name in ("linear", "ensemble"):
        found[name] = scores(get_prior(name).prepare(observation), truth, factor)
    config = SelfPriorConfig(iterations=iterations, device="cpu")
    learned = SelfPrior(config).prepare(observation)
    found["learned"] = scores(learned, truth, factor)
    found["learned from the truth"] = scores(
        learned_from_truth(truth, observation, config).prepare(observation), truth, factor
    )
    found["learned, put in place"] = scores(learned, truth, factor, placed=True)
    noise = float(np.mean([noise_of(image) for image in truth[:: 2 * factor]]))
    found["noise alone"] = (-20 * np.log10(noise), None)
    rows = [
        {"volume": volume, "factor": factor, "what": what, "psnr": round(level, 3), "ssim": alike and round(alike, 4)}
        for what, (level, alike) in found.items()
    ]
    print_table(rows)
    return rows


def main() -> None:
    """Print rows cell by cell and write results/prior_bounds.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", nargs="+", default=["epfl", "fib25"])
    parser.add_argument("--factors", type=int, nargs="+", default=[5, 8, 10])
    parser.add_argument("--iterations", type=int, default=500, help="training steps of either network")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", default="prior_bounds", help="name of the result")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    for volume in arguments.volumes:
        for factor in arguments.factors:
            rows += measure(volume, factor, arguments.iterations)
            write_result(
                arguments.output,
                rows,
                notes=f"One half of every slice, every third gap; networks trained for {arguments.iterations} steps. "
                "All but the first three rows of a cell know the truth.",
            )


if __name__ == "__main__":
    main()
