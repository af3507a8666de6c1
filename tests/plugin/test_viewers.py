"""Which viewers are refreshed."""

import pytest
from napari.components import ViewerModel
from napari.utils._proxies import PublicOnlyProxy

from napari_emgauss.plugin.view._viewers import forget_viewer, viewers, watch_viewer


def test_the_viewer_in_front_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    front = ViewerModel()
    monkeypatch.setattr("napari.current_viewer", lambda: front)
    assert viewers() == [front]
    stand_in = PublicOnlyProxy(front)  # what napari hands to plugins
    watch_viewer(stand_in)
    try:
        assert len(viewers()) == 1
        monkeypatch.setattr("napari.current_viewer", ViewerModel)
        assert len(viewers()) == 2
    finally:
        forget_viewer(stand_in)
