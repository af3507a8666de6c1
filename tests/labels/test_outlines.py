"""Ties that the picture decides: one dark membrane beside where the distances put the outline."""

from __future__ import annotations

import numpy as np

from napari_emgauss.labels._outlines import follow_membranes

MEMBRANE, OUTLINE = 7, 5
"""Columns: of the dark line, and the first that the distances give to the second object."""


def decided(background: int | None) -> np.ndarray:
    shape = (8, 12)
    numbers = np.zeros(shape, np.int64)
    numbers[:, OUTLINE:] = 1
    away = np.abs(np.arange(shape[1]) - (OUTLINE - 0.5)).astype(np.float32)
    margins = np.broadcast_to(np.where(away < 3, 0.1, 2.0).astype(np.float32), shape).copy()
    image = np.full(shape, 0.8, np.float32)
    image[:, MEMBRANE] = 0.2
    return follow_membranes(numbers, np.zeros(shape, np.float32), margins, image, -0.5, background)


def test_between_objects_the_outline_goes_to_the_membrane() -> None:
    found = decided(background=None)
    assert (found[:, :MEMBRANE] == 0).all() and (found[:, MEMBRANE + 1 :] == 1).all()


def test_membranes_of_the_background_outline_nothing() -> None:
    for background in (0, 1):
        found = decided(background)
        assert (found[:, :OUTLINE] == 0).all() and (found[:, OUTLINE:] == 1).all()
    assert (decided(background=2) == decided(background=None)).all()  # a background that is elsewhere
