from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from napari_emgauss import ProgressUpdate
from napari_emgauss._errors import PriorError
from napari_emgauss.priors import PriorState
from napari_emgauss.priors.learned._network import NetworkConfig
from napari_emgauss.priors.learned._sampler import RowDropSampler, log_gaps
from napari_emgauss.priors.learned._training import Trained, _Length, schedule, train_network
from napari_emgauss.priors.learned._training_config import TrainingConfig


def ramp(slices: int = 4, height: int = 40, width: int = 33) -> np.ndarray:
    """Slices whose grey is the row number plus a thousand times the column: patches tell where they are from."""
    image = np.arange(height)[:, None] + 1000 * np.arange(width)[None]
    return np.broadcast_to(image, (slices, height, width)).astype(np.float32)


@pytest.mark.parametrize("gaps", [[5.0, 5.0, 5.0], [4.4, 4.4, 4.4], [5.0, 11.0, 4.0]])
def test_sampler_hides_exactly_the_rows_between(gaps: list[float]) -> None:
    sampler = RowDropSampler(ramp(), np.array(gaps), 4, TrainingConfig(1, batch=16, rows=4, columns=8), seed=1)
    for _ in range(4):
        rows, log_gap, between = sampler.draw()
        assert rows.shape == (16, 4, 8)
        assert log_gap.shape == (16, 3)
        assert between.shape == (16, 4, 3, 8)
        for node in range(4):  # grey is a straight line in every direction, so the truth is linear interpolation
            expected = rows[:, :-1] + (rows[:, 1:] - rows[:, :-1]) * (node + 1) / 5
            inner = slice(1, -1) if gaps != [5.0, 5.0, 5.0] else slice(None)  # the cubic needs a pixel beyond the ends
            torch.testing.assert_close(between[:, node, inner], expected[:, inner], rtol=1e-5, atol=0.1)


def test_sampler_tells_uneven_gaps_and_ignores_rounding() -> None:
    np.testing.assert_allclose(
        log_gaps(np.array([8.0, 8.5, 16.0, 4.0])), np.log([1, 1, 16 / 8.25, 4 / 8.25]), rtol=1e-6
    )
    sampler = RowDropSampler(ramp(), np.array([4.0, 9.0, 4.0]), 3, TrainingConfig(1, batch=8, rows=4, columns=8), 0)
    _, log_gap, _ = sampler.draw()
    np.testing.assert_allclose(np.unique(log_gap.numpy()), [0, np.log(9 / 4)], rtol=1e-6)


def test_rows_between_are_cubic_at_fractions() -> None:
    parabola = np.broadcast_to(np.arange(12.0)[:, None] ** 2, (1, 12, 12)).astype(np.float32)
    sampler = RowDropSampler(parabola, np.full(3, 3.0), 1, TrainingConfig(1, batch=64, rows=4, columns=3), 0)
    rows, _, between = sampler.draw()
    upright = torch.nonzero(rows.std(dim=2).amax(dim=1) == 0).ravel()  # slices turned on their side vary along a row
    assert len(upright) > 10
    for k in upright:
        at = rows[k, :, 0].sqrt()  # mid-gap lies at half rows, where a cubic through a parabola is the parabola
        expected = ((at[1] + at[2]) / 2) ** 2
        torch.testing.assert_close(between[k, 0, 1], expected.expand(3), rtol=1e-5, atol=1e-4)


def test_a_sampler_goes_on_where_another_was() -> None:
    def fresh() -> RowDropSampler:
        config = TrainingConfig(1, batch=2, rows=3, columns=8)
        return RowDropSampler(ramp(), np.array([4.4, 4.0, 5.1]), 3, config, seed=1)

    for steps in (0, 1, 64, 70):
        one, other = fresh(), fresh()
        for _ in range(steps):
            one.draw()
        other.restore(json.loads(json.dumps(one.state())))
        for _ in range(66):
            assert all(torch.equal(mine, theirs) for mine, theirs in zip(one.draw(), other.draw(), strict=True))


def test_slices_smaller_than_the_gap_are_refused() -> None:
    with pytest.raises(PriorError, match=r"smaller than the gap.*linear\+blur"):
        RowDropSampler(ramp(height=9), np.array([10.0, 10.0]), 9, TrainingConfig(1), 0)


def test_training_is_reproducible_reports_and_can_be_stopped() -> None:
    images = np.random.default_rng(0).standard_normal((4, 40, 36)).astype(np.float32)
    network_config = NetworkConfig(3, channels=(4, 4), blocks=(1, 1))
    config = TrainingConfig(20, batch=4, rows=4, columns=16)

    def run(seed: int, on_progress=None) -> np.ndarray:
        sampler = RowDropSampler(images, np.full(3, 4.0), 3, config, seed)
        network, _ = train_network(
            sampler, network_config, config, seed=seed, device=torch.device("cpu"), on_progress=on_progress
        )
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).numpy()

    told: list[ProgressUpdate] = []
    first = run(3, told.append)
    np.testing.assert_array_equal(first, run(3))
    assert not np.array_equal(first, run(4))
    assert [progress.fraction for progress in told] == [0.5, 1.0]
    assert told[-1].loss is not None

    def stop(progress: ProgressUpdate) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(3, stop)


NOISE = np.random.default_rng(0).standard_normal((4, 40, 36)).astype(np.float32)
SMALL = NetworkConfig(3, channels=(4, 4), blocks=(1, 1))


def trained(config: TrainingConfig, state: PriorState | None = None, on_progress: Any = None) -> Trained:
    sampler = RowDropSampler(NOISE, np.full(3, 4.0), 3, config, 3)
    cpu = torch.device("cpu")
    return train_network(sampler, SMALL, config, seed=3, device=cpu, state=state, on_progress=on_progress)


@pytest.mark.parametrize(("least_gain", "steps"), [(-1.0, 60), (1.0, 24)])
def test_a_training_is_short_where_more_of_it_does_not_pay(least_gain: float, steps: int) -> None:
    patches = {"batch": 4, "rows": 4, "columns": 16}
    told: list[str] = []
    config = TrainingConfig(60, 24, least_gain, **patches)
    assert config.look_after == (6, 12)
    assert trained(config, on_progress=lambda update: told.append(update.text)).steps == steps
    assert told[0] == "training the prior, 10 of 60"
    assert told[-1] == f"training the prior, {steps} of {steps}"
    # A look changes nothing: one that goes on is the training that never looked.
    always = TrainingConfig(60, **patches)
    assert always.look_after is None and TrainingConfig(24, 24).look_after is None
    if steps == 60:
        for mine, theirs in zip(
            trained(config).network.parameters(), trained(always).network.parameters(), strict=True
        ):
            assert torch.equal(mine, theirs)


def test_the_rate_falls_to_the_end_without_a_step_whatever_is_decided() -> None:
    length = _Length(TrainingConfig(1500, 600))
    errors = iter([1.0, 0.99])
    rates = []
    for done in range(600):
        rates.append(length.rate(done))
        length.look(done + 1, lambda: next(errors))
    assert length.steps == 600 and next(errors, None) is None
    assert rates[:300] == [schedule(k, 1500) for k in range(300)]
    assert np.abs(np.diff(rates[50:])).max() < 0.006
    assert np.all(np.diff(rates[50:]) < 0)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)
    longer = _Length(TrainingConfig(1500, 600))
    errors = iter([1.0, 0.97])
    for done in (149, 150, 299, 300):
        longer.look(done, lambda: next(errors))
    assert longer.steps == 1500 and longer.rate(900) == schedule(900, 1500)


@pytest.mark.parametrize("stop", [1, 2])
def test_a_decision_outlives_a_stop(stop: int) -> None:
    """Stopped between the two looks (after 10 steps) and after them (after 20)."""
    config = TrainingConfig(60, 24, 1.0, batch=4, rows=4, columns=16)
    whole, state, told = trained(config), PriorState(), []

    def stopping(update: ProgressUpdate) -> None:
        told.append(update)
        if len(told) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(config, state, stopping)
    again = trained(config, state)
    assert again.steps == whole.steps == 24
    for mine, theirs in zip(again.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_length_that_is_none_of_this_training_is_refused() -> None:
    for state in ({"steps": 61, "early": None}, {"steps": 60, "early": float("nan")}, {"steps": True, "early": None}):
        with pytest.raises(ValueError, match="not"):
            _Length(TrainingConfig(60, 24)).restore(state)
