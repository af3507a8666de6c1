"""What the user set on napari's Preferences page of the plugin (``configurations`` in the manifest)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PLUGIN_NAME = "napari-emgauss"


@dataclass(frozen=True)
class Preferences:
    """The plugin's preferences; the defaults are those of the manifest.

    Parameters
    ----------
    preset : str
        Preset chosen at first in the widget.
    device : str
        Where to fit and render: ``auto``, ``cpu``, ``cuda:0``, ``mps``.
    cache_mib : int
        Memory for rendered slices of one layer, MiB.
    live_preview : bool
        Show the continuous layer while the fit runs.
    """

    preset: str = "default"
    device: str = "auto"
    cache_mib: int = 512
    live_preview: bool = True


def preferences() -> Preferences:
    """The present preferences; the defaults where napari knows none (no napari, or the plugin is not registered)."""
    try:
        from napari.settings import get_plugin_settings

        settings = get_plugin_settings(PLUGIN_NAME)
        return Preferences(
            preset=str(settings.fit.preset),
            device=str(settings.fit.device),
            cache_mib=int(settings.view.cache_mib),
            live_preview=bool(settings.view.live_preview),
        )
    except (ImportError, KeyError, AttributeError):
        return Preferences()


def on_preference(page: str, name: str, call: Callable[[], Any]) -> Callable[[], None]:
    """Have ``call()`` done when the user changes a preference; what is returned ends that."""
    try:
        from napari.settings import get_plugin_settings

        event = getattr(getattr(get_plugin_settings(PLUGIN_NAME), page).events, name)
    except (ImportError, KeyError, AttributeError):
        return lambda: None

    def changed(event: Any = None) -> None:
        call()

    event.connect(changed)
    return lambda: event.disconnect(changed)
