"""A short trial of this machine's speed, in a process of its own. Knows neither Qt nor napari."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ._estimate import Speed
from ._job import answer_job
from ._process import Channel

if TYPE_CHECKING:
    from napari_emgauss._progress import Progress

TRIAL_S = 4.0
"""Of the fit and of the training each, compiling apart."""
_USUAL = (16, 256, 256)
"""A stack whose prior has its parts in the proportions of most, with its slices eight pixels apart."""


def measure_speed_in_child(channel: Channel, device: str) -> None:
    """Target of the trial's process; answers with a :class:`~napari_emgauss.plugin.process._estimate.Speed`."""

    def work(progress: Progress) -> Speed:
        import numpy as np

        from napari_emgauss.fitting import preset
        from napari_emgauss.tiles import measure_slowness, tile_work

        found = measure_slowness(device, seconds=TRIAL_S, on_progress=progress)
        usual = tile_work(
            _USUAL, np.arange(_USUAL[0], dtype=np.float64) * 64, (8.0, 8.0), preset("default"), share_prior=False
        )
        return Speed(found.iteration, replace(usual, iterations_s=0.0).seconds(found) / usual.prior_s)

    answer_job(channel, work)
