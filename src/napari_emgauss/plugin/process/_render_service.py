"""The window's end of the rendering process. Knows neither Qt nor napari; safe to call from several threads."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss.stack import Region

from ._asked_child import AskedChild
from ._estimate import FitPlan, PlanRequest
from ._problem import ChildFailedError
from ._render_child import DeviceInfo, ModelInfo, serve
from ._sharing import keep_freed_memory, lower_priority

if TYPE_CHECKING:
    from napari_emgauss.model import Confidence, ErrorBars

LOGGER = logging.getLogger("napari_emgauss.plugin")

Depths = float | Sequence[float] | NDArray[np.floating[Any]]

BACKGROUND_DEPTHS = 8
"""Depths a background caller asks for at once; between two such requests the window gets its turn."""


_HURRY = threading.local()


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """What this thread asks for is for the screen: it goes before background work, as the main thread does."""
    _HURRY.on = True
    try:
        yield
    finally:
        _HURRY.on = False


class _Turn:
    """A lock that lets what is for the screen go first, so that the slider never waits for a long background job."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._held, self._urgent = False, 0

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        urgent = for_the_screen()
        with self._condition:
            self._urgent += urgent
            try:
                while self._held or (self._urgent and not urgent):
                    self._condition.wait()
                self._held = True
            finally:
                self._urgent -= urgent
        try:
            yield
        finally:
            with self._condition:
                self._held = False
                self._condition.notify_all()


def for_the_screen() -> bool:
    """Whether the caller is the thread that draws the window, or one that renders for it."""
    return getattr(_HURRY, "on", False) or threading.current_thread() is threading.main_thread()


def render_threads() -> int:
    """Threads for rendering: half of the cores, for a fit may want the others."""
    return max(1, (os.cpu_count() or 2) // 2)


def _child_main(connection: Any, device: str, threads: int) -> None:
    lower_priority()
    keep_freed_memory()
    serve(connection, device, threads)


class RenderService:
    """Renders slices of model files in a process of its own, which starts with the first request.

    Parameters
    ----------
    device : str
        Where to render: ``auto``, ``cpu``, ``cuda:0``, ...
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self._turn = _Turn()
        self._warm = threading.Event()
        self._child = AskedChild("rendering", "render", self._warm.clear)
        self._device_info: DeviceInfo | None = None
        self._users: weakref.WeakSet[Any] = weakref.WeakSet()
        atexit.register(self._child.close_for_good)

    @property
    def pid(self) -> int | None:
        """Process id of the renderer, None while there is none."""
        return self._child.pid

    @property
    def warm(self) -> bool:
        """Whether the process runs and has loaded what it needs."""
        return self._warm.is_set()

    def warm_up(self) -> DeviceInfo:
        """Start the process and wait until it can render (a few seconds the first time); for a worker thread."""
        if self._device_info is None or not self._warm.is_set():  # or another device
            self._device_info = self._ask("warm")
        return self._device_info

    def describe_device(self, device: str) -> DeviceInfo:
        """What ``device`` means on this machine.

        Raises
        ------
        ChildFailedError
            It cannot be used; the message says why.
        """
        return self._ask("device", device)

    def plan(self, request: PlanRequest) -> FitPlan:
        """What a fit will take."""
        return self._ask("plan", request)

    def describe(self, path: str) -> ModelInfo:
        """Load a model file and say what it is."""
        return self._ask("describe", path)

    def confidence(self, path: str) -> Confidence | None:
        """How far the prior of a model trusted its guesses; None where the model does not know."""
        return self._ask("confidence", path)

    def error(self, path: str) -> ErrorBars | dict[float, float] | None:
        """Error bars of a model; of tiles only how many σ hold which share; None where the model has none."""
        return self._ask("error", path)

    def render_error(
        self, path: str, z_nm: Sequence[float], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[np.float32]:
        """σ ``(n, h, w)`` of a tiled model."""
        return np.asarray(self._ask("render_error", path, [float(z) for z in z_nm], region, shape))

    def drop(self, path: str) -> None:
        """Forget a model; nothing happens when the process does not run."""
        if self._child.started:
            with contextlib.suppress(ChildFailedError):
                self._ask("drop", path)

    def render(
        self, path: str, z_nm: Sequence[float], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        """Render slices ``(n, h, w)`` of the model file ``path``; see ``EmgaussModel.render``."""
        depths = [float(z) for z in z_nm]
        step = len(depths) if for_the_screen() else BACKGROUND_DEPTHS
        parts = [
            self._ask("render", path, depths[start : start + step], region, shape)
            for start in range(0, len(depths), step)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def set_device(self, device: str) -> None:
        """Render elsewhere from now on: the process ends, and the next request starts one on the other device."""
        if device == self.device:
            return
        self.device = device
        threading.Thread(target=self._end_between_requests, name="emgauss-render-device", daemon=True).start()

    def _end_between_requests(self) -> None:
        with self._turn.take():
            self.close()

    def add_user(self, user: Any) -> None:
        """Keep the process for ``user``: a model, a widget."""
        self._users.add(user)

    def remove_user(self, user: Any) -> None:
        """``user`` needs it no more; when nobody does, the process ends and frees its GPU memory."""
        self._users.discard(user)
        self.close_if_idle()

    def close_if_idle(self) -> None:
        """End the process, in the background, when it has no users."""
        if not self._users and self._child.started:
            threading.Thread(target=self.close, name="close-emgauss-render", daemon=True).start()

    def close(self) -> None:
        """End the process. A later request starts a new one."""
        self._child.close()

    def _ask(self, *request: Any) -> Any:
        """One request, one answer. A renderer that died is started again once."""
        with self._turn.take():
            answer = self._child.ask(request, _child_main, (self.device, render_threads()))
        if request[0] in ("warm", "render", "describe"):
            self._warm.set()
        return answer


_SERVICE: RenderService | None = None
_SERVICE_LOCK = threading.Lock()


def render_service() -> RenderService:
    """The one renderer of this napari, on the device of the preferences."""
    global _SERVICE
    with _SERVICE_LOCK:
        if _SERVICE is None:
            from napari_emgauss.plugin._preferences import preferences

            _SERVICE = RenderService(preferences().device)
        return _SERVICE
