"""Rows of the registry, what derives from them, and rows from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest

from napari_emgauss import ConfigError, evaluate, get_prior, preset, prior_names, stack_from_array
from napari_emgauss.cli._main import build_parser
from napari_emgauss.evaluation import check_methods, method_colours, method_label, method_names
from napari_emgauss.fitting import fit
from napari_emgauss.priors import (
    FIT_ONLY,
    PriorCost,
    PriorInfo,
    _registry,
    cost_of_prior,
    prior_choices,
    priors_known,
    register_prior,
    unregister_prior,
)
from napari_emgauss.priors.classical._priors import linear_prior
from napari_emgauss.priors.learned import _cost
from napari_emgauss.tiles import Slowness
from napari_emgauss.tiles._estimate import learning_work, prior_cost

TOY = PriorInfo(
    "toy",
    lambda device="auto": replace(linear_prior(), name="toy"),
    label="A toy",
    summary="nothing new",
    colour="#123456",
    cost=PriorCost(learning_s=7.0, label_pixel_s=1e-6),
)


@pytest.fixture
def toy() -> Iterator[None]:
    register_prior(TOY)
    yield
    unregister_prior("toy")


def test_rows_are_complete() -> None:
    for row in priors_known():
        assert row.summary and row.suits, row.name
        assert re.fullmatch(r"#[0-9a-f]{6}", row.colour)
        assert not row.missing()
        assert row.learns == (row.restore is not None) == bool(row.efforts)
    assert len({row.colour for row in priors_known()}) == len(priors_known())
    assert prior_choices()[0] == "auto" and prior_choices()[-1] == "ema"
    assert set(prior_choices()) == {row.name for row in priors_known()}


def test_a_row_from_outside_is_known_everywhere(toy: None) -> None:
    assert prior_names()[-1] == "toy" and prior_choices()[-2] == "toy"
    assert get_prior("toy").name == "toy"
    assert "toy" in method_names()
    assert (method_label("toy"), method_colours(["toy"])["toy"]) == ("A toy", "#123456")
    assert check_methods(["toy"]) == ("toy",) and "toy" not in check_methods(None)
    config = preset("fast", prior="toy")
    assert learning_work((3, 20, 20), config).seconds(Slowness()) == 7.0
    assert prior_cost(config).label_pixel_s == 1e-6
    commands = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr, index]
    for command in ("fit", "evaluate", "score"):
        assert "toy" in commands[command].format_help()


def test_a_prior_from_outside_can_be_fitted_and_scored(toy: None) -> None:
    values = np.random.default_rng(0).integers(0, 255, (13, 20, 18), dtype=np.uint8)
    stack = stack_from_array(values[::4], (32.0, 8.0, 8.0))
    last = list(fit(stack, preset("fast", prior="toy", iterations_scale=0.01)))[-1]
    assert last.finished and last.model is not None and last.model.provenance["prior_name"] == "toy"
    whole = stack_from_array(values, (8.0, 8.0, 8.0), allow_isotropic=True)
    scores = evaluate(whole, 4, methods=["linear", "toy"]).methods
    assert scores["toy"].xy == scores["linear"].xy


def test_bad_rows_are_refused(toy: None) -> None:
    with pytest.raises(ConfigError, match="There is already a prior 'toy'"):
        register_prior(TOY)
    register_prior(replace(TOY, label="Another toy"), replace=True)
    assert method_label("toy") == "Another toy"
    for name in ("two words", "a:b", "a,b", "", "emgauss"):
        with pytest.raises(ConfigError, match="cannot be the name of a prior"):
            register_prior(replace(TOY, name=name))
    with pytest.raises(ConfigError, match="'blue' is not a colour"):
        register_prior(replace(TOY, name="other", colour="blue"))
    with pytest.raises(ConfigError, match="reads what it learned"):
        register_prior(replace(TOY, name="other", learns=True))


def test_our_own_can_be_replaced_and_come_back() -> None:
    before = prior_names()
    register_prior(replace(TOY, name="flow"), replace=True)
    try:
        assert get_prior("flow").name == "toy" and prior_names() == before
    finally:
        unregister_prior("flow")
    assert get_prior("flow").name == "flow" and prior_names() == before


def test_what_is_not_installed_is_named_with_its_remedy() -> None:
    register_prior(replace(TOY, name="odd", needs=("no_such_package",), install="my-package[odd]"))
    try:
        for ask in (lambda: get_prior("odd"), lambda: check_methods(["odd"])):
            with pytest.raises(ConfigError, match=r"'odd' needs no_such_package.*pip install 'my-package\[odd\]'"):
                ask()
    finally:
        unregister_prior("odd")


def test_entry_points_are_called_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    called: list[str] = []

    def register() -> None:
        called.append("good")
        register_prior(TOY)

    def broken() -> None:
        raise RuntimeError("it was never tested")

    found = [SimpleNamespace(name=f.__name__, value="x:y", load=lambda f=f: f) for f in (broken, register)]
    groups: list[str] = []
    monkeypatch.setattr(metadata, "entry_points", lambda group: groups.append(group) or found)
    monkeypatch.setattr(_registry._entry_points, "_loaded", False)
    try:
        assert get_prior("linear").name == "linear" and not called  # what is ours needs nobody else
        assert get_prior("toy").name == "toy"
        assert "toy" in prior_names()
    finally:
        unregister_prior("toy")
    assert called == ["good"] and groups == ["napari_emgauss.priors"]
    assert "The prior broken (x:y) could not be loaded: it was never tested" in caplog.text


def test_names_are_explained() -> None:
    with pytest.raises(ConfigError, match="Unknown prior 'spline': choose one of nearest, linear"):
        get_prior("spline")
    with pytest.raises(ConfigError, match="Prior 'linear' has no efforts: write 'linear'"):
        get_prior("linear:fast")
    with pytest.raises(ConfigError, match="Unknown effort 'huge' of the prior 'self': choose one of fast"):
        get_prior("self:huge")
    with pytest.raises(ConfigError, match="running average of a model while it is fitted"):
        get_prior(FIT_ONLY)


def test_cost_is_that_of_the_effort() -> None:
    fast, best = cost_of_prior("self:fast"), cost_of_prior("self:best")
    step = _cost.SECONDS_PER_TRAINING_STEP
    # Convolutions of 64, 96 and 128 channels in place of 48, 64 and 96.
    larger = 29_696 / 15_616
    assert fast.learning_s == pytest.approx(90 * step) and best.learning_s == pytest.approx(4500 * step * larger)
    # xz and yz, for the best turned (on larger pictures) and mirrored ones as well.
    one = _cost.SECONDS_PER_GAP_PIXEL_AND_PASS
    assert fast.network_gap_pixel_s == pytest.approx(2 * one)
    assert best.network_gap_pixel_s == pytest.approx(2 * (2 + 2 * _cost.TURNED) * one * larger)
    for cost in (fast, best):  # corrected and mixed with carried slices
        assert cost.network_label_pixel_s == _cost.SECONDS_PER_CORRECTED_PIXEL
        assert cost.label_pixel_s == _cost.SECONDS_PER_CARRIED_PIXEL
    assert cost_of_prior("linear").learning_s == 0 and cost_of_prior("flow") == cost_of_prior("ensemble")
    trial = cost_of_prior("auto").learning_s - cost_of_prior("self").learning_s
    assert trial == pytest.approx(80 * step)
