"""What a layer of carried labels shows while they are worked out: those of the nearest labelled slice."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_emgauss.volume import Drawing, LazyVolume

LOGGER = logging.getLogger("napari_emgauss.plugin")

PATIENCE_S = 0.02
"""How long the window waits for labels."""
PROGRESS_S = 0.4
"""Least time between two pictures of a view of many depths."""
PROGRESS_SHARE = 0.1
"""Share of the window's time that drawing them may take."""

_RIGHT_AFTER_S = 0.01
_IDLE_S = 2.0


class _Job:
    """A view whose labels are being worked out."""

    def __init__(self, drawing: Drawing, *, thumbnail: bool) -> None:
        self.drawing, self.thumbnail = drawing, thumbnail
        self.key = (drawing.box.key, drawing.depths_nm.tobytes())
        self.done = threading.Event()
        self.error: Exception | None = None
        self.superseded = self.news_wanted = False


class LabelPainter:
    """Works out labels in a thread; meanwhile the window gets those of the nearest labelled slice.

    There is no mean of two labels and no draft of them, so this does less than the painter of pictures. The window
    shows one picture of a layer, and its thumbnail: newer wishes take the place of older ones. Knows neither Qt nor
    napari.

    Parameters
    ----------
    on_news : callable
        Called from a thread when labels that the window got too early are there. The argument is the error where there
        was one.
    nearest : callable
        ``(depths_nm, region, shape)`` to what the nearest labelled slices say, at once.
    on_busy : callable
        Called from a thread with whether labels are being worked out.
    """

    def __init__(
        self,
        on_news: Callable[[Exception | None], None],
        nearest: Callable[[NDArray[np.float64], Any, Any], NDArray[Any]],
        on_busy: Callable[[bool], None] = lambda busy: None,
    ) -> None:
        self._on_news, self._nearest, self._on_busy = on_news, nearest, on_busy
        self._changed = threading.Condition()
        self._jobs: dict[bool, _Job] = {}
        self._thread: threading.Thread | None = None
        self._painted: tuple[float, object] = (0.0, None)
        self.failing = False
        self.refresh_s = 0.0

    def paint(self, view: LazyVolume, *, coarsest: bool, grid_nm: NDArray[np.float64] | None = None) -> NDArray[Any]:
        """Labels of a view, now; see :meth:`~napari_emgauss.plugin.view._painter.Painter.paint`."""
        drawing = view.drawing()
        now, place = time.monotonic(), (drawing.box.key, len(drawing.depths_nm))
        # napari asks for the picture and, right after it, for the thumbnail.
        at, painted = self._painted
        thumbnail = coarsest and painted != place and now - at < _RIGHT_AFTER_S
        if not drawing.known.all():
            job = self._ask(drawing, thumbnail=thumbnail)
            patience_s = 0.0 if job.news_wanted or thumbnail or len(drawing.depths_nm) > 1 else PATIENCE_S
            if not job.done.wait(patience_s):
                with self._changed:
                    job.news_wanted = not job.done.is_set()
            if job.error is not None:
                raise job.error
            drawing = job.drawing
        planes = self._filled(drawing)
        if not thumbnail:
            self._painted = time.monotonic(), place
        return view.pick(planes)

    def stand_in(self, view: LazyVolume, error: Exception) -> NDArray[Any]:
        """What the nearest labelled slices say where :meth:`paint` has failed with ``error``, which is told."""
        self._on_news(error)
        return view.pick(self._filled(view.drawing()))

    def _filled(self, drawing: Drawing) -> NDArray[Any]:
        known = drawing.known.copy()  # the thread goes on
        planes = drawing.values.copy()
        missing = np.flatnonzero(~known)
        if len(missing):
            near = self._nearest(drawing.depths_nm[missing], drawing.box.region, drawing.box.shape)
            planes[missing] = near[(slice(None), *drawing.box.window)]
        return planes

    def _ask(self, drawing: Drawing, *, thumbnail: bool) -> _Job:
        job = _Job(drawing, thumbnail=thumbnail)
        with self._changed:
            present = self._jobs.get(thumbnail)
            if present is not None and present.key == job.key and present.error is None:
                return present
            for other in [present] if thumbnail else list(self._jobs.values()):
                if other is not None:
                    other.superseded = True
            if not thumbnail:
                self._jobs.clear()
            self._jobs[thumbnail] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="emgauss-labels", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return job

    # in the thread

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            self._on_busy(True)
            try:
                self._render(job)
            except Exception as error:
                job.error = error
                LOGGER.error("Working out labels failed: %s", error)
            self._end(job)

    def _next_job(self) -> _Job | None:
        """The picture before the thumbnail; None, and no thread, after some idle time."""
        with self._changed:
            while True:
                for kind in (False, True):
                    job = self._jobs.get(kind)
                    if job is not None and not job.done.is_set():
                        return job
                self._on_busy(False)
                if not self._changed.wait(_IDLE_S):
                    self._thread = None
                    return None

    def _render(self, job: _Job) -> None:
        told = time.monotonic()
        # In their order: the depths of a gap cost little when it is prepared.
        for k in job.drawing.missing:
            if job.superseded:
                return
            job.drawing.render([k])
            now = time.monotonic()
            if now - told > max(PROGRESS_S, self.refresh_s / PROGRESS_SHARE) and not job.thumbnail:
                told = now
                self._on_news(None)

    def _end(self, job: _Job) -> None:
        with self._changed:
            recovered, self.failing = self.failing and job.error is None, job.error is not None
            job.done.set()
            news = (job.news_wanted or recovered) and not job.superseded
        if news:
            self._on_news(job.error)
