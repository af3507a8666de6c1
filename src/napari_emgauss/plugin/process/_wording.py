"""Errors in the words of the window: fields and buttons, not arguments or options."""

from __future__ import annotations

from napari_emgauss._errors import EmgaussError
from napari_emgauss._remedies import Door


def sentence(error: BaseException) -> str:
    """What went wrong and what to do, for somebody who sees the window."""
    return error.worded(Door.WINDOW) if isinstance(error, EmgaussError) else str(error)
