"""The door: what it takes, and what it says when something does not fit."""

from __future__ import annotations

import pytest
import torch

from napari_emgauss import BackendError, ConfigError
from napari_emgauss.render import splat


def call(**changes):
    arguments = {
        "means": torch.zeros(4, 2),
        "conics": torch.ones(4, 3),
        "opacities": torch.ones(4),
        "values": torch.ones(4, 1),
        "size": (5, 6),
    }
    arguments.update(changes)
    return splat(**arguments)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"means": torch.zeros(4, 3)}, r"means must have shape \(N, 2\)"),
        ({"conics": torch.ones(3, 3)}, r"conics must have shape \(1, 4, 3\) or \(4, 3\), not \(3, 3\)"),
        ({"opacities": torch.ones(4, 1)}, "opacities must have shape"),
        ({"values": torch.ones(4)}, r"values must have shape \(4, C\)"),
        ({"values": torch.ones(4, 0)}, "values must have shape"),
        ({"size": (0, 6)}, "at least one row"),
        ({"background": torch.zeros(3)}, r"background must have shape \(\) or \(1,\)"),
        ({"values": torch.ones(4, 1).double()}, "bring them to one dtype"),
        ({"means": torch.zeros(4, 2).long()}, "means must be of a floating type"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(changes, words):
    with pytest.raises(ConfigError, match=words):
        call(**changes)


def test_an_unknown_backend_is_refused():
    with pytest.raises(BackendError, match="no renderer called 'gpu'"):
        call(backend="gpu")


def test_the_cpu_renderer_refuses_float64():
    doubles = {"means": torch.zeros(4, 2), "conics": torch.ones(4, 3), "opacities": torch.ones(4)}
    doubles = {name: v.double() for name, v in doubles.items()}
    with pytest.raises(BackendError, match="takes float32 tensors on the CPU"):
        call(**doubles, values=torch.ones(4, 1).double(), backend="cpu")
    assert call(**doubles, values=torch.ones(4, 1).double()).dtype == torch.float64


def test_one_cloud_gives_one_image_and_a_batch_gives_a_batch():
    assert call().shape == (1, 5, 6)
    assert call(means=torch.zeros(3, 4, 2), values=torch.ones(4, 2)).shape == (3, 2, 5, 6)


def test_background_may_be_a_number_or_one_value_per_channel():
    empty = {"opacities": torch.zeros(4), "values": torch.ones(4, 2)}
    assert torch.equal(call(**empty, background=0.25), torch.full((2, 5, 6), 0.25))
    per_channel = call(**empty, background=torch.tensor([0.1, 0.7]))
    assert torch.equal(per_channel[:, 2, 3], torch.tensor([0.1, 0.7]))
