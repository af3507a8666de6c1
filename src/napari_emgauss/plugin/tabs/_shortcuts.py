"""Keys for moving along z."""

from __future__ import annotations

from typing import Any

from napari_emgauss.plugin.view._depth_control import DepthControl

KEYS = {"previous": "Alt-Left", "next": "Alt-Right", "middle": "Alt-Down"}


def bind_shortcuts(viewer: Any, control: DepthControl) -> None:
    """Bind the keys in the viewer: previous and next observed slice, and mid-gap."""

    def previous_observed_slice(viewer: Any) -> None:
        """EMGauss: previous observed slice."""
        control.next_slice(-1)

    def next_observed_slice(viewer: Any) -> None:
        """EMGauss: next observed slice."""
        control.next_slice(1)

    def mid_gap(viewer: Any) -> None:
        """EMGauss: middle of the gap."""
        control.mid_gap()

    viewer.bind_key(KEYS["previous"], previous_observed_slice, overwrite=True)
    viewer.bind_key(KEYS["next"], next_observed_slice, overwrite=True)
    viewer.bind_key(KEYS["middle"], mid_gap, overwrite=True)


def unbind_shortcuts(viewer: Any, control: DepthControl) -> None:
    """Give the keys back."""
    for key in KEYS.values():
        viewer.bind_key(key, None)
