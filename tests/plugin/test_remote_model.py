"""The renderer in its own process, with a real model."""

import math
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_emgauss.plugin.process import _demand
from napari_emgauss.plugin.process._problem import ChildFailedError
from napari_emgauss.plugin.process._remote_model import RemoteModel


@pytest.fixture
def model(service: Any, model_file: Path) -> RemoteModel:
    return RemoteModel.open(service, model_file)


def _here(model_file: Path) -> Any:
    from napari_emgauss.render import load

    return load(model_file, device="cpu")


def test_it_knows_the_model(model: RemoteModel) -> None:
    assert model.shape == (5, 24, 32) and model.dtype == np.uint8
    assert model.pixel_size_nm == (4.0, 5.0) and list(model.z_nm) == [0, 40, 80, 120, 160]
    assert model.info.gaussians == 60 and model.info.limits == (0, 255)
    assert model.provenance["name"] == "a stack"


def test_it_renders_what_the_model_renders(model: RemoteModel, model_file: Path) -> None:
    here = _here(model_file)
    np.testing.assert_array_equal(model.render(33.3), here.render(33.3))
    many = np.linspace(0, 160, 21)
    np.testing.assert_array_equal(model.render(many), here.render(many))
    part = {"region": (3.0, 19.0, 4.0, 31.0), "shape": (8, 9)}
    np.testing.assert_array_equal(model.render([12.5], **part), here.render([12.5], **part))


def test_errors_come_over_as_sentences(model: RemoteModel) -> None:
    with pytest.raises(ChildFailedError, match="outside the fitted volume"):
        model.render(1000.0)


def test_a_newer_state_is_rendered_ahead_and_the_old_file_goes(service: Any, model_file: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    shutil.copy(model_file, first)
    changed = _here(model_file)
    changed.cloud_list[0].values.data.mul_(0.5)
    changed.save(second)
    model = RemoteModel.open(service, first, temporary=True)
    before = model.render([40.0])
    state = model.prepare(second)
    np.testing.assert_array_equal(model.render([40.0]), before)  # not yet
    version = model.version
    model.commit(state)
    assert model.version > version
    assert len(state.images) == 1
    np.testing.assert_array_equal(model.render([40.0]), changed.render([40.0]))
    for _ in range(100):
        if not first.exists():
            break
        threading.Event().wait(0.05)
    assert not first.exists() and second.exists()
    model.release()


def test_while_somebody_scrubs_nothing_is_rendered_ahead_for_a_new_state(
    model: RemoteModel, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.render(20.0)
    assert len(model.prepare(model_file).images) == 1
    monkeypatch.setattr(_demand, "_moved_at", math.inf)
    state = model.prepare(model_file)
    assert not state.images and state.info == model.info


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_renderer_is_started_again(model: RemoteModel, service: Any) -> None:
    before = model.render(20.0)
    os.kill(service.pid, signal.SIGKILL)
    np.testing.assert_array_equal(model.render(20.0), before)


def test_several_threads_get_their_own_slices(model: RemoteModel, model_file: Path) -> None:
    here, wrong = _here(model_file), []
    expected = {z: here.render(float(z)) for z in range(0, 160, 10)}

    def look(order: list[int]) -> None:
        wrong.extend(z for z in order if (model.render(float(z)) != expected[z]).any())

    random = np.random.default_rng(0)
    threads = [threading.Thread(target=look, args=(list(random.permutation(list(expected))),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_save_copies_the_file_whole(model: RemoteModel, model_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept.emgauss.safetensors"
    assert model.save(target) == target
    assert target.read_bytes() == model_file.read_bytes()
    with pytest.raises(OSError):
        model.save(tmp_path / "no folder" / "kept.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_another_device_counts_from_the_next_request_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_emgauss.plugin.process._render_service import RenderService

    service, ended = RenderService("auto"), threading.Event()
    monkeypatch.setattr(service, "close", ended.set)
    service.set_device("auto")
    assert not ended.wait(0.05)
    service.set_device("cpu")
    assert ended.wait(5) and service.device == "cpu"
