"""What a layer shows when the window cannot wait: rendering in a thread, and the best picture there is meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.plugin.process._demand import note_movement
from napari_emgauss.plugin.process._render_service import hurried

from ._look_ahead import LookAhead
from ._pictures import between, covers, is_line, nearest_depth, resampled, same_place, slot_of, window_of

if TYPE_CHECKING:
    from napari_emgauss.volume import Drawing, LazyVolume

LOGGER = logging.getLogger("napari_emgauss.plugin")

PATIENCE_S = 0.08
"""How long the window waits for slices in one pass of its event loop, all layers together."""

PATIENCE_ALONG_Z_S = 0.02
"""The same for views along z: they take longer anyway, and a coarse picture of them is there after a few planes."""

PROGRESS_S = 0.4
"""Least time between two pictures of a view that is still being rendered."""

PROGRESS_SHARE = 0.1
"""Share of the window's time that drawing them may take."""

MOVING_S = 0.25
"""Two slices within this time are a movement: while a fit wants the cores, they are drawn as drafts."""

DRAFT = 2
"""A draft has this many times fewer rows and columns."""

THUMBNAIL_S = 1.0
"""Least time between two renderings of a thumbnail for its own sake."""

_BATCH_S = 0.02
_IDLE_S = 2.0
_RIGHT_AFTER_S = 0.01
_SMALLEST_DRAFT = 128


@dataclass
class _Job:
    """A view being rendered."""

    slot: Hashable
    key: Hashable
    drawing: Drawing
    thumbnail: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    superseded: bool = False
    news_wanted: bool = False


@dataclass(frozen=True)
class _Given:
    """A picture that the window got."""

    slot: Hashable
    drawing: Drawing
    planes: NDArray[Any]
    at: float


class Painter:
    """Renders the views of one layer for the window, which never waits longer than :data:`PATIENCE_S`.

    What takes longer comes later: until then the window gets the best there is, such as the planes that are rendered
    already and a straight line between them, or the picture before. Slices that are likely to be wanted next are
    rendered ahead. Knows neither Qt nor napari.

    Parameters
    ----------
    on_news : callable
        Called from a thread when a picture that the window got too early has become better. The argument is the
        error where there was one.
    sparing : callable
        Whether cores are scarce, so that slices seen in passing are drawn as drafts.

    Attributes
    ----------
    failing : bool
        Whether the last picture could not be rendered.
    pictures, late : int
        Pictures that the window asked for, and those of them that were not ready in time.
    refresh_s : float
        What the window took to draw such a picture last; told by the window.
    """

    def __init__(
        self, on_news: Callable[[Exception | None], None], sparing: Callable[[], bool] = lambda: False
    ) -> None:
        self._on_news, self._sparing = on_news, sparing
        self._moved_at: dict[Hashable, float] = {}
        self._refine_at: float | None = None
        self._changed = threading.Condition()
        self._jobs: dict[Hashable, _Job] = {}
        self._waiting: list[_Job] = []
        self._shown: dict[Hashable, Drawing] = {}
        self._latest: _Given | None = None
        self._look_ahead = LookAhead(MOVING_S)
        self._slice_s = 0.0
        self._thumbnail_at = 0.0
        self.refresh_s = 0.0
        self.pictures = self.late = 0
        self.failing = False
        self._thread: threading.Thread | None = None

    def paint(self, view: LazyVolume, *, coarsest: bool, grid_nm: NDArray[np.float64] | None = None) -> NDArray[Any]:
        """Pixels of a view, now.

        Parameters
        ----------
        view : LazyVolume
        coarsest : bool
            Whether the view is of the level that thumbnails are made of, too.
        grid_nm : ndarray, optional
            Depths of the slices among which the view is one: those around it may be rendered ahead.
        """
        drawing = view.drawing()
        slot = slot_of(drawing)
        beside, self._latest = self._latest, None
        # napari asks for the picture and, right after it, for the thumbnail.
        if coarsest and beside is not None and beside.slot != slot and time.monotonic() - beside.at < _RIGHT_AFTER_S:
            return view.pick(self._thumbnail(drawing, slot, beside))
        planes = self._picture(drawing, slot)
        self._latest = _Given(slot, drawing, planes, time.monotonic())
        with self._changed:
            if grid_nm is None or len(drawing.depths_nm) > 1 or self._sparing():
                self._look_ahead.forget()
            else:
                self._look_ahead.arrive(drawing, grid_nm, view.cache)
                self._ensure_thread()
        return view.pick(planes)

    def stand_in(self, view: LazyVolume, error: Exception) -> NDArray[Any]:
        """The best there is where :meth:`paint` has failed with ``error``, which is told."""
        self._on_news(error)
        drawing = view.drawing()
        return view.pick(self._best(_Job(slot_of(drawing), None, drawing)))

    def _picture(self, drawing: Drawing, slot: Hashable) -> NDArray[Any]:
        now = time.monotonic()
        moving = now - self._moved_at.get(slot, 0.0) < MOVING_S
        self._moved_at[slot] = now
        if moving:
            note_movement()
        self._refine_at = None
        if drawing.known.all():
            self._remember(slot, drawing)
            return drawing.values
        large = len(drawing.depths_nm) == 1 and min(drawing.values.shape[1:]) >= _SMALLEST_DRAFT
        if moving and large and self._sparing():
            draft = drawing.coarser(DRAFT)
            planes = self._rendered(draft, ("draft", slot))
            with self._changed:
                self._refine_at = time.monotonic() + MOVING_S
                self._ensure_thread()
            return resampled(draft, drawing, planes)
        return self._rendered(drawing, slot)

    def _rendered(self, drawing: Drawing, slot: Hashable) -> NDArray[Any]:
        job = self._ask(slot, drawing)
        # Asked again, after news of it: no more waiting.
        self.pictures += not job.news_wanted
        along_z = len(drawing.depths_nm) > 1
        budget, patience_s = (_ALONG_Z, PATIENCE_ALONG_Z_S) if along_z else (_SLICES, PATIENCE_S)
        left_s = budget.take(0.0 if job.news_wanted or is_line(drawing) else patience_s)
        if not job.done.wait(left_s):
            with self._changed:
                self.late += not job.news_wanted
                job.news_wanted = not job.done.is_set()
        budget.give_back()
        if job.error is not None:
            raise job.error
        return job.drawing.values if job.done.is_set() else self._best(job)

    def _ask(self, slot: Hashable, drawing: Drawing, *, thumbnail: bool = False) -> _Job:
        key = (drawing.box.key, drawing.depths_nm.tobytes(), window_of(drawing))
        with self._changed:
            job = self._jobs.get(slot)
            if job is not None and job.key == key and job.error is None and not job.superseded:
                return job
            # The window shows one picture of a layer: a newer one replaces the older, whatever axes that had.
            for other in list(self._jobs.values()):
                if other.slot == slot or not (thumbnail or other.thumbnail):
                    self._drop(other)
            job = self._jobs[slot] = _Job(slot, key, drawing, thumbnail)
            self._waiting.append(job)
            self._ensure_thread()
        return job

    def _drop(self, job: _Job) -> None:
        """Nobody waits for a job any more."""
        if not job.done.is_set():
            job.superseded = True
            if job in self._waiting:
                self._waiting.remove(job)

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="emgauss-painter", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _remember(self, slot: Hashable, drawing: Drawing) -> None:
        with self._changed:
            job = self._jobs.get(slot)
            if job is not None and job.drawing is not drawing:
                self._drop(job)
            self._shown[slot] = drawing

    # what to show meanwhile

    def _best(self, job: _Job) -> NDArray[Any]:
        """The best picture of a view that is not rendered yet."""
        wanted, last = job.drawing, self._shown.get(job.slot)
        if len(wanted.depths_nm) == 1:
            if last is not None and window_of(last) == window_of(wanted) and last.box.region == wanted.box.region:
                return last.values
            sources = [one for one in self._shown.values() if len(one.depths_nm) == 1 or one.values.shape[1] > 1]
            covering = [one for one in sources if covers(one, wanted)]
            if covering:
                nearest = min(covering, key=lambda one: abs(nearest_depth(one, wanted) - wanted.depths_nm[0]))
                return resampled(nearest, wanted)
            return np.zeros_like(wanted.values)
        if last is not None and same_place(last, wanted):
            return last.values
        known = np.flatnonzero(wanted.known)
        if len(known):
            return between(wanted.values, known)
        if last is not None and last.values.shape == wanted.values.shape:
            return last.values
        return np.zeros_like(wanted.values)

    def _thumbnail(self, drawing: Drawing, slot: Hashable, beside: _Given) -> NDArray[Any]:
        """Made of the picture on screen where that shows it all: rendering it costs half as much as the picture."""
        with self._changed:
            job, last = self._jobs.get(slot), self._shown.get(slot)
        if covers(beside.drawing, drawing):
            if job is not None and job.thumbnail:
                with self._changed:
                    self._drop(job)
            return resampled(beside.drawing, drawing, beside.planes)
        if drawing.known.all():
            self._remember(slot, drawing)
            return drawing.values
        if time.monotonic() - self._thumbnail_at > THUMBNAIL_S:
            self._thumbnail_at = time.monotonic()
            self._ask(slot, drawing, thumbnail=True)
        if last is not None and last.values.shape == drawing.values.shape:
            return last.values
        return np.zeros_like(drawing.values)

    # in the thread

    def _work(self) -> None:
        while (task := self._next_task()) is not None:
            try:
                task()
            except Exception:  # without the thread there would never be another picture
                LOGGER.exception("Painting failed")

    def _next_task(self) -> Callable[[], None] | None:
        """What to do next, as soon as there is something; None, and no thread, after some idle time."""
        with self._changed:
            while True:
                if self._waiting:
                    job = min(self._waiting, key=lambda one: one.thumbnail)
                    self._waiting.remove(job)
                    return lambda: self._draw(job)
                now, ahead = time.monotonic(), self._look_ahead.due
                if self._refine_at is not None and now >= self._refine_at:
                    self._refine_at = None
                    return lambda: self._on_news(None)  # the slice one has come to rest on
                if ahead is not None and now >= ahead:
                    return self._draw_ahead
                times = [time_s - now for time_s in (self._refine_at, ahead) if time_s is not None]
                if not self._changed.wait(min(times, default=_IDLE_S)) and not times:
                    self._thread = None
                    return None

    def _draw_ahead(self) -> None:
        """Render the slice that is likely to be wanted next, unless the window would have to wait for it."""
        with self._changed:
            if self._sparing() or self._slice_s > PATIENCE_S / 2:
                self._look_ahead.forget()
            drawing = self._look_ahead.take()
        if drawing is None:
            return
        try:
            drawing.render(drawing.missing)
        except Exception as error:  # told when it is asked for
            LOGGER.debug("Rendering ahead failed: %s", error)
            with self._changed:
                self._look_ahead.forget()

    def _draw(self, job: _Job) -> None:
        try:
            with hurried():
                self._render(job)
        except Exception as error:
            job.error = error
            LOGGER.error("Rendering failed: %s", error)
        self._end(job)

    def _render(self, job: _Job) -> None:
        drawing, told = job.drawing, time.monotonic()
        order = coarse_to_fine(drawing.missing)
        count = 1
        while order and not job.superseded:
            batch, order = order[:count], order[count:]
            began = time.monotonic()
            drawing.render(batch)
            now = time.monotonic()
            each = max(1e-5, (now - began) / len(batch))
            if len(drawing.depths_nm) == 1:
                self._slice_s = each
            count = max(1, min(drawing.batch, 4 * count, round(_BATCH_S / each)))
            interval = max(PROGRESS_S, self.refresh_s / PROGRESS_SHARE)
            if order and job.news_wanted and now - told > interval and not job.superseded:
                told = now
                self._on_news(None)
            with self._changed:
                if order and job.thumbnail and self._waiting:  # the picture first
                    self._waiting.append(job)
                    return

    def _end(self, job: _Job) -> None:
        with self._changed:
            if job in self._waiting:
                return
            if job.error is None and job.drawing.known.all():
                self._shown[job.slot] = job.drawing
            job.done.set()
            recovered, self.failing = self.failing and job.error is None, job.error is not None
            news = (job.news_wanted or recovered) and not job.superseded
        if news:
            self._on_news(job.error)


class _Budget:
    """The window's patience, shared by all layers that are drawn in one pass of its event loop.

    Parameters
    ----------
    one_pass_s : float
        What the window does between two waits of one pass takes no longer.
    """

    def __init__(self, one_pass_s: float) -> None:
        self._one_pass_s = one_pass_s
        self._spent, self._ended, self._began = 0.0, 0.0, 0.0

    def take(self, patience_s: float) -> float:
        """Of so many seconds, those that may be waited now."""
        self._began = time.monotonic()
        if self._began - self._ended > self._one_pass_s:
            self._spent = 0.0
        return max(0.0, patience_s - self._spent)

    def give_back(self) -> None:
        """The waiting has ended."""
        self._ended = time.monotonic()
        self._spent += self._ended - self._began


_SLICES = _Budget(0.02)
_ALONG_Z = _Budget(0.05)
"""Between a change of axes and the first drawing, where napari asks again, the window has more to do."""


def coarse_to_fine(positions: list[int]) -> list[int]:
    """The same positions, evenly spread ones first: each part of the order is a coarse picture of the whole."""
    if len(positions) < 3:
        return list(positions)
    stride = 1
    while 8 * stride < len(positions):
        stride *= 2
    order, seen = [], set()
    for first in (0, len(positions) - 1):
        order.append(first)
        seen.add(first)
    while stride >= 1:
        fresh = [k for k in range(0, len(positions), stride) if k not in seen]
        order.extend(fresh)
        seen.update(fresh)
        stride //= 2
    return [positions[k] for k in order]
