"""Models and lazy volumes in other processes, and copied: what dask's schedulers and napari's layers do with them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import torch

from napari_emgauss import LazyVolume
from napari_emgauss.model import ModelConfig
from napari_emgauss.render import EmgaussModel
from napari_emgauss.stack import Normalisation
from napari_emgauss.tiles import TiledModel
from napari_emgauss.volume import channel_models
from napari_emgauss.volume._original_intensity import in_original_intensity

DATA = Path(__file__).parents[1] / "data"
Z_NM = np.array([0.0, 40.0, 80.0])


def random_model(channels: int = 1) -> EmgaussModel:
    torch.manual_seed(2)
    limits = None if channels == 1 else ((0.0, 255.0),) * channels
    lines = [{"intensity_lines": [[2.0, 1.0]] * 3}] * channels
    model = EmgaussModel(
        ModelConfig(field="spline", channels=channels),
        Z_NM,
        (10.0, 10.0),
        (12, 14),
        Normalisation(0.0, 255.0, "uint8", limits),
        30,
        provenance={"name": "random", "stack": {"channels": lines}},
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.uniform_(0.0, 12.0 if name.endswith("means") else 1.0)
    return model.requires_grad_(False)


def models() -> dict[str, Any]:
    """One of every kind that can be exported."""
    return {
        "file": random_model(),
        "tiles": TiledModel(DATA / "tiled.emgauss", device="cpu"),
        "channel": channel_models(random_model(2))[1],
        "intensity": in_original_intensity(random_model()),
    }


@pytest.mark.parametrize("kind", list(models()))
@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_renders_the_same_and_is_of_its_own(kind: str, way: Any) -> None:
    model = models()[kind]
    again = way(model)
    assert type(again) is type(model) and again.shape == model.shape
    np.testing.assert_array_equal(again.render([10.0, 40.0]), model.render([10.0, 40.0]))
    assert pickle.loads(pickle.dumps(again)).provenance == model.provenance


def test_a_copied_model_does_not_follow_the_first() -> None:
    model = random_model()
    again = copy.deepcopy(model)
    before = again.render(20.0)
    with torch.no_grad():
        model.cloud_list[0].values.fill_(0.0)
    np.testing.assert_array_equal(again.render(20.0), before)
    assert (again.version, again.device.type) == (model.version, "cpu")


@pytest.fixture
def one_worker() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield "distributed"


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes", "distributed"])
def test_a_lazy_volume_is_computed_on_any_scheduler(scheduler: str, request: pytest.FixtureRequest) -> None:
    if scheduler == "distributed":
        request.getfixturevalue("one_worker")
    volumes = [LazyVolume(model) for model in models().values()]
    blocks = [da.from_array(volume, chunks=(4, 8, 8))[2:7, 3:11] for volume in volumes]
    with dask.config.set(scheduler=scheduler, num_workers=2):
        found = dask.compute(*blocks)
    for one, volume in zip(found, volumes, strict=True):
        np.testing.assert_array_equal(one, np.asarray(volume[2:7, 3:11]))


def test_views_have_names_of_their_own_in_a_graph() -> None:
    model = random_model()
    volume = LazyVolume(model)
    names = {da.from_array(view, chunks=-1).name for view in (volume, volume[1:], volume[:, ::2], volume[:, 1:])}
    assert len(names) == 4
    assert da.from_array(volume, chunks=-1).name == da.from_array(LazyVolume(model), chunks=-1).name
    assert da.from_array(LazyVolume(random_model()), chunks=-1).name != da.from_array(volume, chunks=-1).name
    model.publish(random_model())  # other parameters, other pictures
    assert da.from_array(volume, chunks=-1).name not in names
