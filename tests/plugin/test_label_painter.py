"""What a layer of carried labels shows before they are worked out, and afterwards."""

import threading
from typing import Any, ClassVar

import numpy as np
import pytest

from napari_emgauss.plugin.view import _label_painter
from napari_emgauss.plugin.view._label_painter import LabelPainter
from napari_emgauss.stack import Frame
from napari_emgauss.volume import LazyVolume


class SlowLabels:
    """Every pixel has the label 10 + depth; given out when it is allowed."""

    channels, version, confidence = 1, 1, None
    provenance: ClassVar[dict[str, Any]] = {}
    shape, pixel_size_nm, dtype = (3, 8, 10), (1.0, 1.0), np.dtype(np.uint16)
    z_nm = np.array([0.0, 4.0, 8.0])

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.error: Exception | None = None
        self.asked: list[float] = []

    def render(self, z_nm: Any, *, region: Any = None, shape: Any = None) -> np.ndarray:
        assert self.may_go.wait(20)
        if self.error is not None:
            raise self.error
        self.asked += [float(z) for z in np.atleast_1d(z_nm)]
        rows, columns = Frame.of(self).centres(region, shape)
        return np.stack([np.full((len(rows), len(columns)), 10 + z, np.uint16) for z in np.atleast_1d(z_nm)])


def nearest(depths_nm: np.ndarray, region: Any, shape: Any) -> np.ndarray:
    return np.full((len(depths_nm), *shape), 1, np.uint16)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> tuple[SlowLabels, LazyVolume, LabelPainter, list[Any], threading.Event]:
    monkeypatch.setattr(_label_painter, "_RIGHT_AFTER_S", 0.0)
    news: list[Any] = []
    told = threading.Event()

    def on_news(error: Exception | None) -> None:
        news.append(error)
        told.set()

    labels = SlowLabels()
    return labels, LazyVolume(labels, spacing_nm=1.0), LabelPainter(on_news, nearest), news, told


def test_the_nearest_labels_come_first_and_news_follow(scene: Any) -> None:
    labels, volume, painter, news, told = scene
    assert np.unique(painter.paint(volume[3], coarsest=False)).tolist() == [1]
    labels.may_go.set()
    assert told.wait(20) and news == [None]
    assert np.unique(painter.paint(volume[3], coarsest=False)).tolist() == [13]
    assert labels.asked == [3.0]


def test_a_newer_wish_takes_the_place_of_an_older_one(scene: Any) -> None:
    labels, volume, painter, news, told = scene
    for index in (1, 2, 5):
        painter.paint(volume[index], coarsest=False)
    labels.may_go.set()
    assert told.wait(20) and news == [None]
    # The first was being worked out already; the second never was.
    assert labels.asked == [1.0, 5.0]


def test_a_failure_is_told_and_the_next_try_works(scene: Any) -> None:
    labels, volume, painter, news, told = scene
    labels.error = RuntimeError("no")
    painter.paint(volume[3], coarsest=False)
    labels.may_go.set()
    assert told.wait(20) and news == [labels.error] and painter.failing
    labels.error = None
    told.clear()
    painter.paint(volume[3], coarsest=False)
    assert told.wait(20) and not painter.failing
    assert np.unique(painter.paint(volume[3], coarsest=False)).tolist() == [13]
