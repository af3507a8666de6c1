"""Moving along z: exact depths, observed slices, mid-gaps, and grids that suit the view. No widget here."""

from __future__ import annotations

from typing import Any

import numpy as np
from psygnal import Signal

from napari_emgauss.volume import Provenance, name_of_depth

from ._continuous_layer import LayerRecord, depth_at, go_to_depth, record_of, refresh_shown, set_grid
from ._software_gl import draw_cheaply, draws_in_software

SIDEWAYS = (
    "All depths are on screen. The stack’s first and last slice stick out by half of their thickness: nothing is "
    "inferred beyond their middle."
)
"""Said of views along z, where there is no one depth."""


class DepthControl:
    """Where one is along z in the layers of a viewer that EMGauss made.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.

    Attributes
    ----------
    layer : napari.layers.Image or None
        The layer whose depth counts.
    """

    moved = Signal()
    """Another depth, or another layer."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Any = None
        self._moving = False
        dims = viewer.dims.events
        dims.point.connect(self._on_point)
        # First: the grid must suit the new view before napari slices the layer for it.
        dims.order.connect(self._on_view, position="first")
        dims.ndisplay.connect(self._on_view, position="first")

    def disconnect_viewer(self) -> None:
        """Stop listening."""
        dims = self._viewer.dims.events
        dims.point.disconnect(self._on_point)
        dims.order.disconnect(self._on_view)
        dims.ndisplay.disconnect(self._on_view)

    @property
    def layer(self) -> Any:
        """The layer whose depth counts; None when it has gone."""
        return self._layer if self._layer is not None and self._layer in self._viewer.layers else None

    @layer.setter
    def layer(self, layer: Any) -> None:
        self._layer = layer
        self.moved.emit()

    @property
    def record(self) -> LayerRecord | None:
        """Of the layer."""
        return record_of(self.layer)

    @property
    def depth_nm(self) -> float:
        """Depth on screen, nm; 0 without a layer."""
        return depth_at(self.layer, self._viewer) if self.layer is not None else 0.0

    def go_to(self, z_nm: float) -> None:
        """Show exactly this depth."""
        record = self.record
        if record is None:
            return
        before = record.shift.nm
        self._moving = True
        try:
            go_to_depth(self.layer, self._viewer, z_nm)
        finally:
            self._moving = False
        if record.shift.nm != before:
            self._refresh_group(record)
        self.moved.emit()

    def next_slice(self, direction: int = 1) -> None:
        """Go to the next observed slice, down (1) or up (-1)."""
        record = self.record
        if record is None:
            return
        z, here = record.model.z_nm, self.depth_nm
        slack = 1e-6 * float(z[-1] - z[0])
        beyond = z[z > here + slack] if direction > 0 else z[z < here - slack][::-1]
        if len(beyond):
            self.go_to(float(beyond[0]))

    def mid_gap(self) -> None:
        """Go to the middle of the gap one is in; from a observed slice or a mid-gap, to the next one."""
        record = self.record
        if record is None:
            return
        z = record.model.z_nm
        middles, here = (z[:-1] + z[1:]) / 2, self.depth_nm
        slack = 1e-6 * float(z[-1] - z[0])
        gap = int(np.clip(np.searchsorted(z, here + slack, side="right") - 1, 0, len(middles) - 1))
        if abs(middles[gap] - here) <= slack:
            gap = (gap + 1) % len(middles)
        self.go_to(float(middles[gap]))

    def set_step(self, z_step_nm: float) -> None:
        """Use this grid for the layer and those that are compared with it."""
        record = self.record
        if record is None:
            return
        depth = self.depth_nm
        for layer, theirs in self._group(record):
            theirs.z_step_nm = z_step_nm
            set_grid(layer, self._suitable_step(theirs))
        self.go_to(depth)

    def where(self) -> str:
        """The present depth in words: slice number, and how far the nearest observed slice is."""
        record = self.record
        if record is None:
            return ""
        if self._z_displayed():
            return SIDEWAYS
        z, here = record.model.z_nm, self.depth_nm
        numbers = self._numbers(record)
        # Interpolation passes through the slices themselves; a model only comes near them.
        look = "exact" if record.kind == "linear" else record.look
        name = name_of_depth(here, z.tolist(), numbers, look)
        if not name.startswith("inferred"):
            return f"{name[0].upper()}{name[1:]}."
        return f"Slice {float(np.interp(here, z, numbers)):.2f}: {name}."

    def _numbers(self, record: LayerRecord) -> list[int]:
        """Numbers of the observed slices in the stack: those that were left out are missing."""
        count = len(record.model.z_nm)
        for theirs in (record, *(other for _, other in self._group(record))):
            known = Provenance.from_json(theirs.model.provenance)
            if known.name is not None:
                return known.stack.fitted_numbers(count)
        return list(range(count))

    def _group(self, record: LayerRecord) -> list[tuple[Any, LayerRecord]]:
        """Layers that share the depth: those of one model and what it is compared with."""
        found = [(layer, record_of(layer)) for layer in self._viewer.layers]
        return [(layer, theirs) for layer, theirs in found if theirs is not None and theirs.shift is record.shift]

    def _refresh_group(self, record: LayerRecord) -> None:
        for layer, _ in self._group(record):
            refresh_shown(layer)

    def _suitable_step(self, record: LayerRecord) -> float:
        """The user's step; no finer than a pixel while z is on screen, where it would only cost time."""
        return max(record.z_step_nm, record.isotropic_step_nm) if self._z_displayed() else record.z_step_nm

    def _z_displayed(self) -> bool:
        dims = self._viewer.dims
        return dims.ndim - 3 in tuple(dims.order)[-dims.ndisplay :]

    def _on_point(self, event: Any = None) -> None:
        record = self.record
        if record is None:
            return
        if not self._moving and record.shift.nm:
            record.shift.nm = 0.0  # the slider shows grid steps
            self._refresh_group(record)
        self.moved.emit()

    def _on_view(self, event: Any = None) -> None:
        for layer in self._viewer.layers:
            record = record_of(layer)
            if record is not None:
                record.shift.nm = 0.0
                set_grid(layer, self._suitable_step(record))
                if self._viewer.dims.ndisplay == 3 and draws_in_software():
                    draw_cheaply(layer)
        self.moved.emit()
