from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from napari_emgauss import ConfigError
from napari_emgauss.evaluation import Lpips, score
from napari_emgauss.evaluation._lpips import _LAYERS
from napari_emgauss.stack import stack_from_array


def weights():
    generator = torch.Generator().manual_seed(0)
    made = {}
    for k, (name, shape, *_) in enumerate(_LAYERS):
        made[f"{name}.weight"] = 0.05 * torch.randn(shape, generator=generator)
        made[f"{name}.bias"] = torch.zeros(shape[0])
        made[f"lin{k}.model.1.weight"] = torch.full((1, shape[0], 1, 1), 0.1)
    return made


def images():
    truth = np.random.default_rng(0).random((48, 50), dtype=np.float32)
    return truth, truth[:, ::-1].copy()


def test_equal_images_have_no_distance_and_others_have(tmp_path):
    from safetensors.torch import save_file

    torch.save(weights(), tmp_path / "alex.pth")
    save_file(weights(), tmp_path / "alex.safetensors")
    truth, other = images()
    measure = Lpips(tmp_path / "alex.pth")
    assert measure(truth, truth) == 0
    # Unit vectors of features, weighed by 0.1 in five layers: at most 4 * 0.1 * 5.
    assert 0 < measure(other, truth) <= 2
    assert measure(other, truth) == Lpips(tmp_path / "alex.safetensors")(other, truth)
    assert measure(truth[:34], truth[:34]) is None


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemError('unpickled')",))


def test_what_is_no_such_file_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap()))
    torch.save({"net.slice1.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name in ("trap.pth", "other.pth", "list.pth", "text.safetensors"):
        with pytest.raises(ConfigError, match=rf"'{name}' holds no weights"):
            Lpips(tmp_path / name)
    with pytest.raises(ConfigError, match="There is no file"):
        Lpips(tmp_path / "none.pth")


def test_a_score_measures_it_where_weights_are_given(tmp_path):
    torch.save(weights(), tmp_path / "alex.pth")
    values = np.random.default_rng(0).integers(0, 256, (7, 40, 40), dtype=np.uint8)
    stack = stack_from_array(values, (40, 4, 4))
    found = score(stack, methods=["linear"], lpips_weights=tmp_path / "alex.pth")
    assert found.methods["linear"].metrics["xy"]["lpips"].mean > 0
    assert "LPIPS" in found.details()
    assert "LPIPS" not in score(stack, methods=["linear"]).details()
