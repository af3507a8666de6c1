"""A short trial of this machine's speed, in a process of its own. Knows neither Qt nor napari."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._estimate import Speed
from ._job import answer_job
from ._process import Channel

if TYPE_CHECKING:
    from napari_emgauss._progress import Progress

TRIAL_S = 4.0
"""Of each of the two measurements, compiling apart."""


def measure_speed_in_child(channel: Channel, device: str) -> None:
    """Target of the trial's process; answers with a :class:`~napari_emgauss.plugin.process._estimate.Speed`."""

    def work(progress: Progress) -> Speed:
        from napari_emgauss.tiles import measure_slowness

        found = measure_slowness(device, seconds=TRIAL_S, on_progress=progress)
        return Speed(found.iteration, found.prior)

    answer_job(channel, work)
