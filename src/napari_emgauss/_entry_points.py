"""Rows that other packages add to our registries, found by entry points and imported when they are first needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module

_LOGGER = logging.getLogger(__name__)


def imported(place: str) -> Callable[..., object]:
    """The function or class that ``"package.module:name"`` stands for."""
    module, _, name = place.partition(":")
    found: Callable[..., object] = getattr(import_module(module), name)
    return found


class EntryPointGroup:
    """Calls the entry points of a group once; each of them registers what its package brings.

    Parameters
    ----------
    group : str
        Its name, such as ``napari_emgauss.readers``.
    what : str
        What is registered there, for the warning about one that fails.
    """

    def __init__(self, group: str, what: str) -> None:
        self.group, self._what = group, what
        self._loaded = False

    def load(self) -> None:
        """Call them all, the first time."""
        if self._loaded:
            return
        self._loaded = True
        from importlib.metadata import entry_points

        for entry in entry_points(group=self.group):
            try:
                entry.load()()
            except Exception as error:  # somebody else's package must not stop ours
                _LOGGER.warning("The %s %s (%s) could not be loaded: %s", self._what, entry.name, entry.value, error)
