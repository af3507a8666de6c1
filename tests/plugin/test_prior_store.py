"""What priors have learned of stacks, kept for other parts of them."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_emgauss.fitting import FitConfig
from napari_emgauss.plugin.process import _prior_store
from napari_emgauss.plugin.process._fit_learning import LearningFit
from napari_emgauss.plugin.process._prior_store import (
    find_prior,
    keep_prior,
    read_prior,
    stack_fingerprint,
    store_folder,
    tidy,
)
from napari_emgauss.plugin.process._reckoning import patch_of
from napari_emgauss.priors import PriorState
from napari_emgauss.priors.learned import _self, _training
from napari_emgauss.stack import stack_from_array

CONFIG = FitConfig(prior="self:fast")


def learned(value: float = 1.0, size: int = 3) -> PriorState:
    state = PriorState()
    state.put("choice", {"note": "chose self"})
    state.part("self").put("learned", {}, {"weight": torch.full((size,), value)})
    return state


class Lazy:
    """A stack of a terabyte, of which nobody may read more than a little."""

    shape, dtype = (4, 5000, 20_000, 10_000), np.dtype(np.uint8)

    def __init__(self) -> None:
        self.read: list[tuple[int, ...]] = []

    def __getitem__(self, key: Any) -> np.ndarray:
        channels, k, rows, columns = key
        assert channels == slice(None)
        self.read.append((k, rows.start, rows.stop, columns.start, columns.stop))
        return np.full((4, rows.stop - rows.start, columns.stop - columns.start), k % 251, np.uint8)


def test_a_stack_is_known_by_what_is_in_it(values: np.ndarray) -> None:
    known = stack_fingerprint(values)
    assert stack_fingerprint(values.copy()) == known and len(known) == 16
    other = values.copy()
    other[2, 12, 16] += 1
    assert stack_fingerprint(other) != known
    assert stack_fingerprint(values[:, :, :31]) != known and stack_fingerprint(values.astype(np.uint16)) != known
    lazy = Lazy()
    stack_fingerprint(lazy)
    assert lazy.read == [(k, 9872, 10128, 4872, 5128) for k in (0, 1250, 2500, 3749, 4999)]


def test_a_prior_serves_parts_that_are_no_larger(request_for: Callable[..., Any]) -> None:
    half, whole = request_for(region=(0, 24, 0, 16)), request_for()
    assert find_prior("a" * 16, half, CONFIG) is None
    keep_prior("a" * 16, half, CONFIG, learned(1.0))
    found = find_prior("a" * 16, request_for(region=(4, 20, 10, 32)), CONFIG)  # 352 of 384 pixels, elsewhere
    assert found.shape == (5, 24, 16)
    assert found.sentence.startswith("The prior learned from 5 × 24 × 16 voxels of this stack on ")
    assert read_prior(found).part("self").get("learned").tensors["weight"].tolist() == [1.0, 1.0, 1.0]
    assert read_prior(found).get("choice").values == {"note": "chose self"}
    assert find_prior("a" * 16, whole, CONFIG) is None  # worse than what it would learn there
    assert find_prior("b" * 16, half, CONFIG) is None
    assert find_prior("a" * 16, half, dataclasses.replace(CONFIG, prior="self")) is None
    assert find_prior("a" * 16, request_for(region=half.region, voxel_size_nm=(80.0, 4.0, 5.0)), CONFIG) is None
    assert find_prior("a" * 16, request_for(region=half.region, skip=(2,)), CONFIG) is None  # it has seen slice 2
    assert find_prior("a" * 16, request_for(region=half.region, masked=True), CONFIG) is None  # and damage

    keep_prior("a" * 16, whole, CONFIG, learned(2.0))
    keep_prior("a" * 16, half, CONFIG, learned(3.0))  # from less: what is there is better
    assert read_prior(find_prior("a" * 16, half, CONFIG)).part("self").get("learned").tensors["weight"][0] == 2.0
    large = dataclasses.replace(found, shape=(20, 600, 600))  # more than enough of every slice
    assert large.is_enough_for((20, 4000, 4000)) and not large.is_enough_for((21, 600, 600))


def test_a_prior_that_learned_nothing_is_not_kept(request_for: Callable[..., Any]) -> None:
    keep_prior("a" * 16, request_for(), CONFIG, PriorState())
    assert find_prior("a" * 16, request_for(), CONFIG) is None


def test_kept_priors_keep_within_bounds_and_foreign_files_stay(
    request_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for()
    for k in range(4):
        keep_prior(f"{k:016x}", request, CONFIG, learned(size=25_000))  # 100 KB
        path = find_prior(f"{k:016x}", request, CONFIG).path
        os.utime(path, (1000.0 + k, 1000.0 + k))
    read_prior(find_prior(f"{0:016x}", request, CONFIG))  # the oldest, but used just now
    name = find_prior(f"{0:016x}", request, CONFIG).path.name
    foreign = store_folder() / name.replace("0" * 16, "f" * 16)
    foreign.write_bytes(b"the name of ours, the content of mine" * 10_000)
    os.utime(foreign, (1.0, 1.0))
    link = store_folder() / name.replace("0" * 16, "e" * 16)
    link.symlink_to(find_prior(f"{1:016x}", request, CONFIG).path)
    monkeypatch.setattr(_prior_store, "MOST_BYTES", 250_000)
    tidy()
    left = [k for k in range(4) if find_prior(f"{k:016x}", request, CONFIG) is not None]
    assert left == [0, 3]
    assert foreign.exists() and link.is_symlink()
    keep_prior("f" * 16, request, CONFIG, learned())  # somebody else's file has its place
    assert foreign.read_bytes().startswith(b"the name of ours")


def test_a_damaged_one_is_none(request_for: Callable[..., Any]) -> None:
    keep_prior("a" * 16, request_for(), CONFIG, learned())
    kept = find_prior("a" * 16, request_for(), CONFIG)
    whole = kept.path.read_bytes()
    kept.path.write_bytes(whole[:-4])
    assert read_prior(kept) is None
    start = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + start])
    told = json.loads(header["__metadata__"]["emgauss"])
    for shape in ("many", [1, 2], [None] * 3):
        header["__metadata__"]["emgauss"] = json.dumps({**told, "shape": shape})
        text = json.dumps(header).encode()
        kept.path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + start :])
        assert find_prior("a" * 16, request_for(), CONFIG) is None
    kept.path.unlink()
    assert read_prior(kept) is None  # another napari has removed it


@pytest.fixture
def short_learning(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every training takes two steps; one entry for each, apart from the shorter trial behind error bars."""
    trained: list[int] = []
    train = _training.train_network

    def counted(*arguments: Any, **keywords: Any) -> Any:
        if arguments[2].iterations == 2:
            trained.append(1)
        return train(*arguments, **keywords)

    monkeypatch.setattr(_training, "train_network", counted)
    monkeypatch.setitem(_self.EFFORTS, "fast", {**_self.EFFORTS["fast"], "iterations": 2})
    return trained


def _fit(values: np.ndarray, request: Any, told: list[str]) -> Any:
    y0, y1, x0, x1 = request.region
    stack = stack_from_array(values[:, y0:y1, x0:x1], z_nm=request.z_nm, pixel_size_nm=(4.0, 5.0))
    config = dataclasses.replace(CONFIG, iterations_scale=0.001, grid_channels=4, head_width=8, device="cpu")
    fit = LearningFit(request, stack, config, stack_fingerprint(values), told.append)
    for update in fit.updates():
        last = update
        if update.stage == "teacher-student":
            fit.keep_prior()
    return last.model


def test_what_was_learned_is_used_for_another_part(
    values: np.ndarray, request_for: Callable[..., Any], short_learning: list[int]
) -> None:
    told: list[str] = []
    model = _fit(values, request_for(), told)
    assert (len(short_learning), told) == (1, []) and "prior_learned_before" not in model.provenance
    patch = request_for(region=(2, 22, 6, 28), patch=True)
    model = _fit(values, patch, told)
    assert len(short_learning) == 1 and model.provenance["prior_learned_before"] is True
    assert len(told) == 1 and told[0].startswith("The prior learned from 5 × 24 × 32 voxels")
    _fit(values, dataclasses.replace(patch, reuse_prior=False), told)
    assert len(short_learning) == 2 and len(told) == 1
    _fit(np.flip(values, 1).copy(), patch, told)  # another stack
    assert len(short_learning) == 3 and len(told) == 1


def test_what_does_not_fit_is_learned_anew(
    values: np.ndarray, request_for: Callable[..., Any], short_learning: list[int]
) -> None:
    told: list[str] = []
    state = PriorState()
    state.put("learned", {}, {"of another network": torch.zeros(3)})
    keep_prior(stack_fingerprint(values), request_for(), CONFIG, state)
    model = _fit(values, request_for(), told)
    assert len(short_learning) == 1 and "prior_learned_before" not in model.provenance
    assert [bool(text) for text in told] == [True, False]  # it is taken back


def test_a_patch_lies_around_the_middle_and_within_what_is_chosen(request_for: Callable[..., Any]) -> None:
    chosen = request_for(region=(0, 500, 100, 400), slices=(0, 99), skip=(50,), preset="best", overrides={"seed": 3})
    patch = patch_of(chosen, (250, 200), 60)
    assert patch.region == (186, 314, 136, 264) and patch.slices == (49, 69) and patch.shape == (20, 128, 128)
    assert (patch.preset, patch.overrides, patch.patch, patch.resume) == ("fast", {}, True, False)
    corner = patch_of(chosen, (-50, 9000), 0)
    assert corner.region == (0, 128, 272, 400) and corner.slices == (0, 19)
    assert patch_of(request_for(region=(0, 128, 0, 128), slices=(0, 19)), (0, 0), 0) is None
    assert patch_of(request_for(region=(0, 128, 0, 128), slices=(0, 20)), (0, 0), 0).shape == (20, 128, 128)


def test_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAPARI_EMGAUSS_PRIORS")
    assert store_folder().name == "priors" and isinstance(store_folder(), Path)
