"""Models that are another one, seen in some way."""

import copy
from typing import Any

import numpy as np
import pytest

from napari_emgauss.volume import channel_models
from napari_emgauss.volume._model_view import ModelView


class TwoChannels:
    """Grey value: depth, plus 1000 in the second channel."""

    z_nm, pixel_size_nm = np.array([0.0, 40.0, 70.0]), (4.0, 5.0)
    shape, dtype, version, channels = (3, 6, 7), np.dtype(np.float32), 1, 2
    confidence = None

    def __init__(self) -> None:
        self.calls, self.provenance = 0, {"name": "two"}

    def render(self, z_nm: Any, *, region: Any = None, shape: Any = None) -> np.ndarray:
        self.calls += 1
        depths = np.asarray(z_nm, dtype=np.float32)[:, None, None, None]
        return depths + np.array([0, 1000], np.float32)[:, None, None] + np.zeros((*(shape or (6, 7)),), np.float32)

    def save(self) -> str:
        return "saved"


class Deeper(ModelView):
    def _images(self, depths_nm: Any, region: Any, shape: Any) -> Any:
        return super()._images(depths_nm + 1, region, shape)


def test_a_view_is_the_model_but_for_its_images() -> None:
    model = TwoChannels()
    view = Deeper(model)
    assert view.save() == "saved" and view.channels == 2 and view.shape == (3, 6, 7)
    assert view.pixel_size_nm == (4.0, 5.0) and list(view.z_nm) == [0, 40, 70] and view.version == 1
    model.version = 7
    assert view.version == 7
    assert view.render(3.0).shape == (2, 6, 7) and (view.render([3.0])[0, 0] == 4).all()
    assert view.render([3.0, 5.0], region=(0, 6, 0, 7), shape=(2, 3)).shape == (2, 2, 2, 3)
    assert copy.deepcopy(view) is view
    with pytest.raises(AttributeError):
        _ = view.unheard_of
    with pytest.raises(AttributeError):
        _ = view._calls


def test_channels_share_what_is_rendered_and_nothing_else() -> None:
    model = TwoChannels()
    first, second = channel_models(model)
    assert (first.render(3.0) == 3).all() and (second.render(3.0) == 1003).all() and model.calls == 1
    planes = second.render([3.0, 4.0])
    assert planes.shape == (2, 6, 7) and planes.base is None  # it keeps no other channel in memory
    model.version = 2
    second.render(3.0)
    assert model.calls == 3
    assert second.channels == 1 and second.provenance == {"name": "two", "channel": 1} and second.save() == "saved"
