"""Export from a GPU: the next slices are rendered while the last ones are written."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from napari_emgauss.volume import ModelTraits
from napari_emgauss.volume._export import _batches


class Model:
    """Renders the depth itself, and remembers in which thread."""

    def __init__(self, *, has_own_device: bool) -> None:
        self.traits = ModelTraits(has_own_device=has_own_device)
        self.begun: list[float] = []
        self.threads: set[str] = set()
        self.reached = threading.Event()

    def render(self, depths: np.ndarray) -> np.ndarray:
        self.threads.add(threading.current_thread().name)
        self.begun.append(float(depths[0]))
        if len(self.begun) > 1:
            self.reached.set()
        return np.asarray(depths)[:, None, None] * np.ones((1, 2, 3))


@pytest.mark.parametrize("has_own_device", [False, True])
def test_slices_come_in_order(has_own_device: bool) -> None:
    model = Model(has_own_device=has_own_device)
    found = np.concatenate(list(_batches(model, np.arange(7.0), 3)))
    assert found[:, 0, 0].tolist() == list(range(7))
    assert model.begun == [0.0, 3.0, 6.0]
    assert any(name.startswith("emgauss-export") for name in model.threads) == has_own_device


def test_a_gpu_renders_ahead_and_stops_when_nobody_asks_any_more() -> None:
    model = Model(has_own_device=True)
    batches = _batches(model, np.arange(30.0), 3)
    next(batches)
    assert model.reached.wait(60)
    batches.close()
    assert model.begun == [0.0, 3.0]
    assert not any(thread.name.startswith("emgauss-export") for thread in threading.enumerate())


def test_what_fails_while_rendering_ahead_is_raised_where_it_is_asked_for() -> None:
    model = Model(has_own_device=True)

    def fails(depths: np.ndarray) -> np.ndarray:
        if depths[0] > 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return np.zeros((len(depths), 2, 3))

    model.render = fails  # type: ignore[method-assign]
    batches = _batches(model, np.arange(9.0), 3)
    next(batches)
    with pytest.raises(torch.OutOfMemoryError):
        next(batches)
