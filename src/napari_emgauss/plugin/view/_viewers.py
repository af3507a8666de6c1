"""The viewers whose layers are refreshed when their pixels become better."""

from __future__ import annotations

from typing import Any

_WATCHED: list[Any] = []


def watch_viewer(viewer: Any) -> None:
    """Know of a viewer until :func:`forget_viewer`."""
    _WATCHED.append(viewer)


def forget_viewer(viewer: Any) -> None:
    """The viewer closes, or nothing of ours listens to it any more."""
    _WATCHED[:] = [one for one in _WATCHED if one is not viewer]


def viewers() -> list[Any]:
    """Viewers with our dock, and the one that is in front."""
    from napari import current_viewer

    front = current_viewer()
    known = list(_WATCHED)
    if front is not None and all(_itself(front) is not _itself(one) for one in known):
        known.append(front)
    return known


def _itself(viewer: Any) -> Any:
    """What napari hands to plugins stands in for the viewer."""
    return getattr(viewer, "__wrapped__", viewer)
