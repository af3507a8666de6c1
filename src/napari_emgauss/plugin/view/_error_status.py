"""The error bar under the pointer, in napari's status bar: ``128 ± 9``."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from qtpy.QtCore import QObject

from napari_emgauss.plugin._background import in_background
from napari_emgauss.stack import Frame
from napari_emgauss.volume import ExactModel

from ._continuous_layer import LayerRecord, record_of

_SIGN = "±"


class ErrorStatus(QObject):
    """Adds σ to the grey value that napari's status bar shows of the selected layer, where that was fitted.

    napari sets ``viewer.status`` whenever the pointer moves. The rendering process is asked for error bars once for
    each state of a model; those of tiled models stay there, and are seen in their layer only.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose status bar.
    parent : QObject
        Ends with it.
    """

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._known: dict[int, tuple[int, Any]] = {}
        self._asked: set[int] = set()
        viewer.events.status.connect(self._on_status)

    def disconnect_viewer(self) -> None:
        """Stop listening."""
        self._viewer.events.status.disconnect(self._on_status)

    def _on_status(self, event: Any = None) -> None:
        status = self._viewer.status
        layer = self._viewer.layers.selection.active
        record = record_of(layer)
        if record is None or record.kind != "continuous" or not isinstance(status, dict):
            return
        value = str(status.get("value", ""))
        if not value or _SIGN in value or self._viewer.dims.ndisplay != 2:
            return
        bars = self._bars(record)
        sigma = None if bars is None else sigma_at(layer, record, bars, self._viewer.cursor.position)
        if sigma is None:
            return
        told = f"{value} {_SIGN} {as_text(sigma)}"
        where = status.get("coords", "")
        self._viewer.status = {**status, "value": told, "coordinates": f"{where}: {told}" if where else told}

    def _bars(self, record: LayerRecord) -> Any:
        """Error bars of the model's present state; None while nobody knows them, or where there are none."""
        model = record.model
        key, version = id(model), int(model.version)
        known = self._known.get(key)
        if known is not None and known[0] == version:
            return known[1]
        if key not in self._asked:
            self._asked.add(key)

            def keep(bars: Any) -> None:
                self._asked.discard(key)
                self._known = {**dict(list(self._known.items())[-7:]), key: (version, bars)}
                self._on_status()  # the pointer may rest by now

            in_background(self, lambda: quick_error_of(model), keep, lambda error: keep(None))
        return None if known is None else known[1]


def sigma_at(layer: Any, record: LayerRecord, bars: Any, position: Any) -> float | None:
    """σ under a position of the world, in grey values; None outside the layer, and where a pixel is the user's own."""
    z, y, x = (float(one) for one in np.asarray(layer.world_to_data(position))[-3:])
    height, width = record.model.shape[-2:]
    if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
        return None
    first, last = float(record.model.z_nm[0]), float(record.model.z_nm[-1])
    step = record.shown_step_nm
    # The layer shows the nearest step of its grid, shifted by what was typed.
    depth = first + round(z) * step + record.shift.nm
    if not first - step / 2 <= depth <= last + step / 2:
        return None
    depth = min(max(depth, first), last)
    row, column = min(max(round(y), 0), height - 1), min(max(round(x), 0), width - 1)
    shown = record.shifted.model
    if isinstance(shown, ExactModel) and not shown.inferred(depth)[row, column]:
        return None  # the user's own pixel
    box = Frame.of(record.model).checked_region((row, row + 1, column, column + 1))
    sigma = bars.render(depth, region=box, shape=(1, 1))
    return float(np.asarray(sigma).reshape(-1)[0])


def as_text(sigma: float) -> str:
    """Two digits, or whole grey values from ten on."""
    return f"{sigma:.0f}" if sigma >= 10 else f"{sigma:.2g}"


def error_of(model: Any) -> Any:
    """Error bars of what a layer shows; None where nothing is known. The rendering process is asked."""
    error = getattr(model, "error", None)
    channel = getattr(model, "channel", None)
    if error is not None and channel is not None and error.channels > 1:
        return error.of_channel(channel)
    return error


def quick_error_of(model: Any) -> Any:
    """The same where they can be looked up without the rendering process; None elsewhere."""
    from napari_emgauss.model import ErrorBars

    error = None
    with contextlib.suppress(AttributeError):
        error = error_of(model)
    return error if isinstance(error, ErrorBars) else None
