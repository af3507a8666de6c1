"""Slices rendered before anybody asks for them."""

import time
from typing import Any

import numpy as np
import pytest

from napari_emgauss.plugin.view import _look_ahead
from napari_emgauss.plugin.view._look_ahead import LookAhead
from napari_emgauss.volume import LazyVolume, RenderCache


class Flat:
    """A model whose grey value is its depth."""

    z_nm, pixel_size_nm = np.arange(5) * 40.0, (4.0, 5.0)
    shape, dtype, version, channels = (5, 24, 32), np.dtype(np.float32), 1, 1

    def render(self, z_nm: Any, *, region: Any = None, shape: Any = None) -> np.ndarray:
        return np.broadcast_to(np.asarray(z_nm)[:, None, None], (len(z_nm), *shape)).astype(np.float32)


@pytest.fixture
def volume() -> LazyVolume:
    return LazyVolume(Flat(), np.arange(33) * 5.0, cache=RenderCache())


@pytest.fixture
def ahead() -> LookAhead:
    return LookAhead(rest_s=0.25)


def _arrive(ahead: LookAhead, volume: LazyVolume, place: int) -> None:
    ahead.arrive(volume[place].drawing(), volume.z_nm, volume.cache)


def _places(ahead: LookAhead) -> list[int]:
    found = []
    while (drawing := ahead.take()) is not None:
        found.append(round(float(drawing.depths_nm[0]) / 5))
    return found


def test_the_direction_of_the_last_move_comes_first(ahead: LookAhead, volume: LazyVolume) -> None:
    _arrive(ahead, volume, 10)
    _arrive(ahead, volume, 12)
    assert _places(ahead) == [13, 14, 11, 15, 16, 10, 17, 18, 9, 19, 20, 8]
    _arrive(ahead, volume, 11)
    _arrive(ahead, volume, 11)  # drawn again, which is no move
    assert _places(ahead)[:3] == [10, 9, 12]


def test_what_is_there_and_what_lies_outside_is_left_out(ahead: LookAhead, volume: LazyVolume) -> None:
    np.asarray(volume[30])
    _arrive(ahead, volume, 28)
    _arrive(ahead, volume, 31)
    assert _places(ahead) == [32, 29, 28, 27]


def test_one_soon_and_the_others_at_rest(ahead: LookAhead, volume: LazyVolume) -> None:
    assert ahead.due is None
    arrived = time.monotonic()
    _arrive(ahead, volume, 10)
    soon = ahead.due
    assert soon is not None and soon >= arrived + _look_ahead.DRAWN_AFTER_S
    ahead.take()
    assert ahead.due == pytest.approx(soon + 0.25)
    ahead.take()
    assert ahead.due == pytest.approx(soon + 0.25)
    ahead.forget()
    assert ahead.due is None and ahead.take() is None


def test_what_was_looked_at_stays_in_the_cache(ahead: LookAhead) -> None:
    plane = 24 * 32 * 4
    for planes, wanted in ((47, 0), (48, 12)):
        volume = LazyVolume(Flat(), np.arange(33) * 5.0, cache=RenderCache(planes * plane))
        _arrive(ahead, volume, 16)
        assert len(_places(ahead)) == wanted
