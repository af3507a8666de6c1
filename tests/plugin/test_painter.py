"""What the window gets at once, and what it gets later."""

import threading
import time
from typing import Any

import numpy as np
import pytest

from napari_emgauss.plugin.view import _painter
from napari_emgauss.plugin.view._look_ahead import STEPS
from napari_emgauss.plugin.view._painter import Painter, coarse_to_fine
from napari_emgauss.plugin.view._pictures import between
from napari_emgauss.volume import LazyVolume, RenderCache


class Held:
    """A model whose grey value is its depth, and which renders nothing while it is held."""

    def __init__(self) -> None:
        self.z_nm, self.pixel_size_nm = np.arange(5) * 40.0, (4.0, 5.0)
        self.shape, self.dtype, self.version, self.channels = (5, 24, 32), np.dtype(np.float32), 1, 1
        self.free = threading.Event()
        self.free.set()
        self.calls: list[tuple[int, tuple[int, int]]] = []

    def render(self, z_nm: Any, *, region: Any = None, shape: Any = None) -> np.ndarray:
        assert self.free.wait(30)
        depths = np.atleast_1d(np.asarray(z_nm, dtype=float))
        self.calls.append((len(depths), shape))
        return np.broadcast_to(depths[:, None, None], (len(depths), *shape)).astype(np.float32)


@pytest.fixture
def model() -> Held:
    return Held()


@pytest.fixture
def volume(model: Held) -> LazyVolume:
    return LazyVolume(model, np.arange(33) * 5.0, cache=RenderCache())


@pytest.fixture
def news() -> list[Any]:
    return []


@pytest.fixture
def painter(news: list[Any]) -> Painter:
    return Painter(news.append)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_painter, "PATIENCE_S", 0.02)
    monkeypatch.setattr(_painter, "PATIENCE_ALONG_Z_S", 0.02)


def _wait_for(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_is_quick_is_exact(painter: Painter, volume: LazyVolume, news: list[Any]) -> None:
    assert (painter.paint(volume[7], coarsest=False) == 35).all()
    np.testing.assert_array_equal(painter.paint(volume[:, 3, :], coarsest=False)[:, 0], volume.z_nm)
    assert not news and painter.pictures == 2 and painter.late == 0


def test_a_slow_slice_comes_later_and_the_last_one_stays(
    painter: Painter, volume: LazyVolume, model: Held, news: list[Any], hurry: None
) -> None:
    model.free.set()
    _wait_for(lambda: (painter.paint(volume[4], coarsest=False) == 20).all())
    news.clear()
    model.free.clear()
    assert (painter.paint(volume[9], coarsest=False) == 20).all()  # the picture before
    assert not news
    model.free.set()
    _wait_for(lambda: news)
    assert news == [None] and (painter.paint(volume[9], coarsest=False) == 45).all()


def test_only_the_newest_slice_is_rendered(painter: Painter, volume: LazyVolume, model: Held, hurry: None) -> None:
    model.free.clear()
    for k in range(1, 20):
        painter.paint(volume[k], coarsest=False)
    model.free.set()
    _wait_for(lambda: (painter.paint(volume[19], coarsest=False) == 95).all())
    assert len(model.calls) <= 3  # the first, which had begun, and the last


def test_a_view_along_z_is_coarse_first(painter: Painter, volume: LazyVolume, model: Held, hurry: None) -> None:
    def known_so_far(*_: Any) -> bool:
        return len(model.calls) >= 2

    slow = model.render

    def render(z_nm: Any, **keywords: Any) -> np.ndarray:
        time.sleep(0.03)
        return slow(z_nm, **keywords)

    model.render = render
    painter.paint(volume[:, 3, :], coarsest=False)
    _wait_for(known_so_far)
    coarse = painter.paint(volume[:, 3, :], coarsest=False)
    # The value is the depth, so a straight line between any planes is right between the first and the last known one.
    assert coarse.shape == (33, 32) and (np.diff(coarse[:, 0]) >= 0).all()
    _wait_for(lambda: (painter.paint(volume[:, 3, :], coarsest=False)[:, 0] == volume.z_nm).all())


def test_the_thumbnail_is_made_of_the_picture(painter: Painter, volume: LazyVolume, model: Held) -> None:
    small = LazyVolume(model, np.arange(33) * 5.0, in_plane_shape=(8, 8), cache=volume.cache)
    painter.paint(volume[7], coarsest=False)
    before = len(model.calls)
    thumbnail = painter.paint(small[7], coarsest=True)
    assert thumbnail.shape == (8, 8) and (thumbnail == 35).all() and len(model.calls) == before
    # The same level as a picture of its own is rendered.
    time.sleep(0.02)
    painter.paint(small[8], coarsest=True)
    assert len(model.calls) == before + 1


def test_the_thumbnail_of_a_coarse_picture_is_made_of_it(
    painter: Painter, volume: LazyVolume, model: Held, hurry: None
) -> None:
    small = LazyVolume(model, volume.z_nm, in_plane_shape=(8, 8), cache=volume.cache)
    model.free.clear()
    painter.paint(volume[:, 3, :], coarsest=False)
    assert painter.paint(small[:, 1, :], coarsest=True).shape == (33, 8)
    model.free.set()
    _wait_for(lambda: (painter.paint(volume[:, 3, :], coarsest=False)[:, 0] == volume.z_nm).all())
    assert {shape for _, shape in model.calls} == {(16, 32)}  # rows that are kept for the next steps


def test_a_view_with_other_axes_replaces_the_one_before(
    painter: Painter, volume: LazyVolume, model: Held, hurry: None
) -> None:
    model.free.clear()
    painter.paint(volume[:, 3, :], coarsest=False)
    painter.paint(volume[:, :, 5], coarsest=False)
    model.free.set()
    _wait_for(lambda: (painter.paint(volume[:, :, 5], coarsest=False)[:, 0] == volume.z_nm).all())
    assert sum(depths for depths, shape in model.calls if shape == (16, 32)) <= 1  # what had begun
    _wait_for(lambda: (painter.paint(volume[:, 3, :], coarsest=False)[:, 0] == volume.z_nm).all())


def test_nobody_waits_for_a_line(painter: Painter, volume: LazyVolume, model: Held, news: list[Any]) -> None:
    model.free.clear()
    # What napari cuts of a new view with the edges of the old one, before it looks at the new view.
    assert painter.paint(volume[:, 3:4, 5:6], coarsest=False).shape == (33, 1, 1)
    assert painter.paint(volume[4:5, 3:4, :], coarsest=False).shape == (1, 1, 32)
    model.free.set()
    _wait_for(lambda: news)
    assert (painter.paint(volume[4:5, 3:4, :], coarsest=False) == 20).all()


def test_slices_around_are_rendered_ahead(painter: Painter, volume: LazyVolume, model: Held) -> None:
    painter.paint(volume[5], coarsest=False, grid_nm=volume.z_nm)
    painter.paint(volume[7], coarsest=False, grid_nm=volume.z_nm)
    _wait_for(lambda: len(model.calls) >= 2 + len(STEPS) - 1)  # one of them had been looked at
    asked = painter.pictures
    for k in (6, 8, 15, 3):
        assert (painter.paint(volume[k], coarsest=False) == 5 * k).all()
    assert painter.pictures == asked


def test_nothing_is_rendered_ahead_where_it_would_be_in_the_way(model: Held, volume: LazyVolume) -> None:
    sparing = Painter(lambda error: None, lambda: True)
    sparing.paint(volume[7], coarsest=False, grid_nm=volume.z_nm)
    assert sparing._look_ahead.due is None
    painter = Painter(lambda error: None)
    painter.paint(volume[9], coarsest=False, grid_nm=volume.z_nm)
    assert painter._look_ahead.due is not None
    painter.paint(volume[:, 3, :], coarsest=False, grid_nm=volume.z_nm)
    assert painter._look_ahead.due is None
    painter.paint(volume[11], coarsest=False, grid_nm=volume.z_nm)
    painter._slice_s = 100.0  # who moves on would have to wait for it
    painter._draw_ahead()
    assert painter._look_ahead.due is None


def test_a_slice_that_fails_ahead_is_told_when_it_is_asked_for(
    painter: Painter, volume: LazyVolume, model: Held, news: list[Any]
) -> None:
    works = model.render

    def fails_beyond(z_nm: Any, **keywords: Any) -> np.ndarray:
        if np.max(z_nm) > 20:
            raise RuntimeError("gone")
        return works(z_nm, **keywords)

    model.render = fails_beyond
    painter.paint(volume[4], coarsest=False, grid_nm=volume.z_nm)
    _wait_for(lambda: painter._look_ahead.due is None)
    assert not news
    with pytest.raises(RuntimeError, match="gone"):
        painter.paint(volume[5], coarsest=False)


def test_the_patience_of_one_pass_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(_painter.time, "monotonic", lambda: clock[0])
    budget = _painter._Budget(0.05)
    assert budget.take(0.03) == pytest.approx(0.03)
    clock[0] += 0.02
    budget.give_back()
    clock[0] += 0.04  # the same pass
    assert budget.take(0.03) == pytest.approx(0.01)
    budget.give_back()
    clock[0] += 0.06
    assert budget.take(0.03) == pytest.approx(0.03)


def test_an_error_is_raised_or_told(painter: Painter, volume: LazyVolume, model: Held, news: list[Any]) -> None:
    def fail(*_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("gone")

    works, model.render = model.render, fail
    with pytest.raises(RuntimeError, match="gone"):
        painter.paint(volume[2], coarsest=False)
    model.render = works
    assert (painter.paint(volume[2], coarsest=False) == 10).all()


def test_order_and_interpolation() -> None:
    order = coarse_to_fine(list(range(100, 133)))
    assert sorted(order) == list(range(100, 133))
    first = sorted(order[:10])
    assert max(np.diff(first)) <= 8
    planes = np.zeros((5, 1, 1), np.uint8)
    planes[1], planes[4] = 10, 40
    assert list(between(planes, np.array([1, 4]))[:, 0, 0]) == [10, 10, 20, 30, 40]


def test_while_cores_are_scarce_slices_in_passing_are_drafts(news: list[Any]) -> None:
    large = Held()
    large.shape = (5, 256, 260)
    painter = Painter(news.append, lambda: True)
    volume = LazyVolume(large, np.arange(33) * 5.0, cache=RenderCache())
    for k in (3, 9):
        assert (painter.paint(volume[k], coarsest=False) == 5 * k).all()
    assert [shape for _, shape in large.calls] == [(256, 260), (128, 130)]
    _wait_for(lambda: news)  # at rest
    assert painter.paint(volume[9], coarsest=False).shape == (256, 260)
    assert large.calls[-1] == (1, (256, 260))
