"""The hold-out score in its own process. Runs in a child; knows neither Qt nor napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._fit_child import request_config, request_stack
from ._job import answer_job
from ._process import Channel

if TYPE_CHECKING:
    from napari_emgauss._progress import Progress
    from napari_emgauss.plugin.process._request import FitData, FitRequest


def score_in_child(channel: Channel, request: FitRequest, data: FitData, methods: tuple[str, ...]) -> None:
    """Target of the score's process; answers with ``ScoreResult.as_dict()``, which the window reads without torch.

    Parameters
    ----------
    channel : Channel
        To the window.
    request : FitRequest
        Preset, device and overrides are those of the method ``emgauss``.
    data : FitData
        The chosen part of the stack.
    methods : tuple of str
        Names of methods to score.
    """

    def work(progress: Progress) -> dict[str, Any]:
        from napari_emgauss.evaluation import score

        result = score(
            request_stack(request, data),
            methods=methods,
            config=request_config(request),
            on_progress=progress,
        )
        return result.as_dict()

    answer_job(channel, work)
