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

from ._process import note_movement
from ._render_service import hurried

if TYPE_CHECKING:
    from napari_emgauss.volume import Drawing, LazyVolume

LOGGER = logging.getLogger("napari_emgauss.plugin")

PATIENCE_S = 0.08
"""How long the window waits for pixels in one pass of its event loop, all layers together."""

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

_BATCH_S = 0.04
_IDLE_S = 2.0
_ONE_PASS_S = 0.02
_RIGHT_AFTER_S = 0.01
_SMALLEST_DRAFT = 128
_SMALL = 1 << 21
"""Values that are interpolated within a few milliseconds."""


@dataclass
class _Job:
    """A view being rendered."""

    slot: Hashable
    key: Hashable
    drawing: Drawing
    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    superseded: bool = False
    news_wanted: bool = False


class Painter:
    """Renders the views of one layer for the window, which never waits longer than :data:`PATIENCE_S`.

    What takes longer comes later: until then the window gets the best there is, such as the planes that are rendered
    already and a straight line between them, or the picture before. Knows neither Qt nor napari.

    Parameters
    ----------
    on_news : callable
        Called from a thread when a picture that the window got too early has become better. The argument is the
        error where there was one.
    sparing : callable
        Whether cores are scarce, so that slices seen in passing are drawn as drafts.

    Attributes
    ----------
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
        self._latest: tuple[Hashable, float] | None = None
        self._thumbnail_at = 0.0
        self.refresh_s = 0.0
        self.pictures = self.late = 0
        self._thread: threading.Thread | None = None

    def paint(self, view: LazyVolume, *, coarsest: bool) -> NDArray[Any]:
        """Pixels of a view, now.

        Parameters
        ----------
        view : LazyVolume
        coarsest : bool
            Whether the view is of the level that thumbnails are made of, too.
        """
        drawing = view.drawing()
        slot = _slot(drawing)
        beside, self._latest = self._latest, None
        # napari asks for the picture and, right after it, for the thumbnail.
        if coarsest and beside is not None and beside[0] != slot and time.monotonic() - beside[1] < _RIGHT_AFTER_S:
            return view.pick(self._thumbnail(drawing, slot, beside[0]))
        planes = self._picture(drawing, slot)
        self._latest = (slot, time.monotonic())
        return view.pick(planes)

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
        if not job.done.wait(0.0 if job.news_wanted else _BUDGET.take()):
            with self._changed:
                self.late += not job.news_wanted
                job.news_wanted = not job.done.is_set()
        _BUDGET.give_back()
        if job.error is not None:
            raise job.error
        return job.drawing.values if job.done.is_set() else self._best(job)

    def _ask(self, slot: Hashable, drawing: Drawing) -> _Job:
        key = (drawing.box.key, drawing.depths_nm.tobytes(), _window(drawing))
        with self._changed:
            job = self._jobs.get(slot)
            if job is not None and job.key == key and job.error is None:
                return job
            if job is not None:
                job.superseded = True
                if job in self._waiting:
                    self._waiting.remove(job)
            job = self._jobs[slot] = _Job(slot, key, drawing)
            self._waiting.append(job)
            self._ensure_thread()
        return job

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="emgauss-painter", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _remember(self, slot: Hashable, drawing: Drawing) -> None:
        with self._changed:
            job = self._jobs.get(slot)
            if job is not None and job.drawing is not drawing:
                job.superseded = True
            self._shown[slot] = drawing

    # what to show meanwhile

    def _best(self, job: _Job) -> NDArray[Any]:
        """The best picture of a view that is not rendered yet."""
        wanted, last = job.drawing, self._shown.get(job.slot)
        if len(wanted.depths_nm) == 1:
            if last is not None and _window(last) == _window(wanted) and last.box.region == wanted.box.region:
                return last.values
            sources = [one for one in self._shown.values() if len(one.depths_nm) == 1 or one.values.shape[1] > 1]
            covering = [one for one in sources if _covers(one, wanted)]
            if covering:
                nearest = min(covering, key=lambda one: abs(_nearest(one, wanted) - wanted.depths_nm[0]))
                return resampled(nearest, wanted)
            return np.zeros_like(wanted.values)
        if last is not None and _same_place(last, wanted):
            return last.values
        known = np.flatnonzero(wanted.known)
        if len(known):
            return between(wanted.values, known)
        if last is not None and last.values.shape == wanted.values.shape:
            return last.values
        return np.zeros_like(wanted.values)

    def _thumbnail(self, drawing: Drawing, slot: Hashable, beside: Hashable) -> NDArray[Any]:
        """Made of the picture on screen where that shows it all: rendering it costs half as much as the picture."""
        with self._changed:
            job, shown, last = self._jobs.get(beside), self._shown.get(beside), self._shown.get(slot)
        newest = None if job is None or not job.done.is_set() else job.drawing
        for on_screen in (newest, shown):
            if on_screen is not None and on_screen.known.all() and _covers(on_screen, drawing):
                return resampled(on_screen, drawing)
        if drawing.known.all():
            self._remember(slot, drawing)
            return drawing.values
        if time.monotonic() - self._thumbnail_at > THUMBNAIL_S:
            self._thumbnail_at = time.monotonic()
            self._ask(slot, drawing)
        if last is not None and last.values.shape == drawing.values.shape:
            return last.values
        return np.zeros_like(drawing.values)

    # in the thread

    def _work(self) -> None:
        with hurried():
            while True:
                with self._changed:
                    if not self._waiting:
                        rest = self._refine_at
                        self._changed.wait(_IDLE_S if rest is None else max(0.0, rest - time.monotonic()))
                    if not self._waiting and self._refine_at is None:
                        self._thread = None
                        return
                    job = self._waiting.pop(0) if self._waiting else None
                    rested = job is None and self._refine_at is not None and time.monotonic() >= self._refine_at
                    if rested:
                        self._refine_at = None
                if rested:
                    self._on_news(None)  # the slice one has come to rest on
                if job is None:
                    continue
                try:
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
            count = max(1, min(drawing.batch, 4 * count, round(_BATCH_S / each)))
            interval = max(PROGRESS_S, self.refresh_s / PROGRESS_SHARE)
            if order and job.news_wanted and now - told > interval and not job.superseded:
                told = now
                self._on_news(None)
            with self._changed:
                if order and self._waiting:  # another view waits: one batch each
                    self._waiting.append(job)
                    return

    def _end(self, job: _Job) -> None:
        with self._changed:
            if job in self._waiting:
                return
            if job.error is None and job.drawing.known.all():
                self._shown[job.slot] = job.drawing
            job.done.set()
            news = job.news_wanted and not job.superseded
        if news:
            self._on_news(job.error)


class _Budget:
    """The window's patience, shared by all layers that are drawn in one pass of its event loop."""

    def __init__(self) -> None:
        self._spent, self._ended, self._began = 0.0, 0.0, 0.0

    def take(self) -> float:
        """Seconds that may be waited now."""
        self._began = time.monotonic()
        if self._began - self._ended > _ONE_PASS_S:
            self._spent = 0.0
        return max(0.0, PATIENCE_S - self._spent)

    def give_back(self) -> None:
        """The waiting has ended."""
        self._ended = time.monotonic()
        self._spent += self._ended - self._began


_BUDGET = _Budget()


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


def between(values: NDArray[Any], known: NDArray[np.intp]) -> NDArray[Any]:
    """All planes, the unknown ones on a straight line between the nearest known ones; in large views, the nearest."""
    every = np.arange(len(values))
    if values.size > _SMALL:
        nearest = np.rint(np.interp(every, known, np.arange(len(known)))).astype(np.intp)
        return np.asarray(values[known[nearest]])
    place = np.interp(every, known, np.arange(len(known)))
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, len(known) - 1)
    weight = (place - below).astype(np.float32)[:, None, None]
    planes = values[known].astype(np.float32)
    blend = (1 - weight) * planes[below] + weight * planes[above]
    return np.rint(blend).astype(values.dtype) if values.dtype.kind in "iu" else blend.astype(values.dtype)


def resampled(source: Drawing, wanted: Drawing, planes: NDArray[Any] | None = None) -> NDArray[Any]:
    """The planes of ``wanted`` from the nearest pixels of ``source``, or of other ``planes`` of its shape."""
    depths = np.abs(np.subtract.outer(wanted.depths_nm, source.depths_nm)).argmin(axis=1)
    rows, columns = (_indices(source, wanted, axis) for axis in (0, 1))
    return np.asarray((source.values if planes is None else planes)[np.ix_(depths, rows, columns)])


def _indices(source: Drawing, wanted: Drawing, axis: int) -> NDArray[np.intp]:
    first, cell = _origin(source, axis)
    found = np.floor((_centres(wanted, axis) - first) / cell).astype(np.intp)
    return np.clip(found, 0, source.values.shape[1 + axis] - 1)


def _origin(drawing: Drawing, axis: int) -> tuple[float, float]:
    """Start of the window and size of its cells along an axis of the plane, in pixels."""
    start, stop = drawing.box.region[2 * axis : 2 * axis + 2]
    cell = (stop - start) / drawing.box.shape[axis]
    return start + cell * drawing.box.window[axis].start, cell


def _centres(drawing: Drawing, axis: int) -> NDArray[np.float64]:
    first, cell = _origin(drawing, axis)
    return np.asarray(first + cell * (np.arange(drawing.values.shape[1 + axis]) + 0.5))


def _covers(source: Drawing, wanted: Drawing) -> bool:
    """Whether every cell of ``wanted`` lies in ``source``, give or take one cell of it."""
    for axis in (0, 1):
        first, cell = _origin(source, axis)
        centres, slack = _centres(wanted, axis), max(cell, _origin(wanted, axis)[1])
        last = first + cell * source.values.shape[1 + axis]
        if centres[0] < first - slack or centres[-1] > last + slack:
            return False
    if len(wanted.depths_nm) == 1:
        return True
    return bool(source.depths_nm[0] <= wanted.depths_nm[0] and source.depths_nm[-1] >= wanted.depths_nm[-1]) or (
        len(source.depths_nm) >= len(wanted.depths_nm)
    )


def _nearest(source: Drawing, wanted: Drawing) -> float:
    return float(source.depths_nm[np.abs(source.depths_nm - wanted.depths_nm[0]).argmin()])


def _window(drawing: Drawing) -> tuple[int, int, int, int]:
    rows, columns = drawing.box.window
    return rows.start, rows.stop, columns.start, columns.stop


def _same_place(one: Drawing, other: Drawing) -> bool:
    """Whether two drawings differ at most in the state of the model."""
    return (
        one.box.region == other.box.region
        and one.box.shape == other.box.shape
        and _window(one) == _window(other)
        and np.array_equal(one.depths_nm, other.depths_nm)
    )


def _slot(drawing: Drawing) -> Hashable:
    """Views of one kind: the same level, and the same axes on screen. A newer one replaces an older."""
    (_, y_cell), (_, x_cell) = _origin(drawing, 0), _origin(drawing, 1)
    return round(y_cell, 6), round(x_cell, 6), *(n == 1 for n in drawing.values.shape)
