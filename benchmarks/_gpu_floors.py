"""Section of ``gpu.py`` that needs no GPU: what a fit of the block moves and calculates at least, in what time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from _clouds import cloud
from _gpu_bench import BACKWARD_FLOPS, FORWARD_FLOPS, Bench, Clock, Rates, Row, ellipse_pixels
from torch.utils.flop_counter import FlopCounterMode

from napari_emgauss.fitting import preset
from napari_emgauss.priors import SelfPriorConfig
from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig
from napari_emgauss.priors.learned._training_config import TrainingConfig
from napari_emgauss.priors.learned._training_step import TrainingStep

# NVIDIA's data sheet of the H200 (SXM): bytes and operations a second, dense.
H200 = Rates(4.8e12, 67e12, 989e12)


def floors(bench: Bench, clock: Clock, presets: list[str]) -> Iterator[Row]:
    """Bytes and operations of each part at the size of the block, counted, and their time at an H200's speeds."""
    height, width, slices, factor = (48, 64, 4, 4) if bench.toy else (768, 1024, 16, 10)
    pixels, nodes, depth = height * width, factor - 1, (slices - 1) * factor + 1
    settings = preset("default")
    splats = round(pixels / settings.pixels_per_gaussian)
    given = cloud(round(pixels**0.5), splats)
    pairs = ellipse_pixels(given["conics"], given["opacities"])

    def row(of: str, nbytes: float, flops: float, *, times: int = 1, bfloat16: bool = False) -> Row:
        return {
            "what": "floor",
            "of": of,
            "megabytes": nbytes / 1e6,
            "gflop": flops / 1e9,
            "times": times,
            "h200_ms": times * H200.floor_ms(nbytes, flops, bfloat16=bfloat16),
        }

    picture = 24.0 * splats + 4.0 * splats + 4.0 * pixels
    yield row("one slice", picture, pairs * FORWARD_FLOPS)
    # Of the deltas a depth touches two knots of five numbers; canonical attributes are eight. Adam moves 28 bytes
    # a number, the teacher's mean 12 of all; pictures are touched some twenty times.
    knots = (slices - 1) * settings.for_stack(slices, 10.0).model_config().knots_per_gap + 1
    nbytes = 28.0 * splats * (8 + 10) + 12.0 * splats * (8 + 5 * knots) + 80.0 * pixels + 200.0 * splats
    yield row(
        "a fit's iterations, preset default",
        nbytes,
        pairs * (FORWARD_FLOPS + BACKWARD_FLOPS),
        times=settings.total_iterations(slices),
    )
    learned = SelfPriorConfig()
    training = TrainingConfig(learned.iterations)
    config = NetworkConfig(nodes, learned.channels)
    meta = torch.device("meta")
    network = GapNetwork(config).to(meta)
    step = TrainingStep(network, meta)
    batch = (
        torch.empty(training.batch, training.rows, training.columns, device=meta),
        torch.empty(training.batch, training.rows - 1, device=meta),
        torch.empty(training.batch, nodes, training.rows - 1, training.columns, device=meta),
    )
    with FlopCounterMode(display=False) as counter:
        step(batch, 0.01, 1e-3, 0.9)
    yield row("the prior's training", 0.0, float(counter.get_total_flops()), times=learned.iterations, bfloat16=True)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(height, slices, width, device=meta), torch.empty(height, slices - 1, device=meta))
    between = 4.0 * (slices - 1) * nodes * pixels
    # xz and yz planes; of each family mean and variance are read, weighted and added.
    flops = 2.0 * float(counter.get_total_flops())
    yield row("the prior's prediction, xz and yz", 2 * 6 * between, flops, bfloat16=True)
    yield row("the isotropic volume", picture, pairs * FORWARD_FLOPS, times=depth)
