"""Training of the self-supervised prior as a GPU does it: the same patches and steps, and nothing that waits."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_emgauss._torch import _precision
from napari_emgauss._torch._graphs import GraphedSteps
from napari_emgauss.priors.learned import _sampler
from napari_emgauss.priors.learned._network import GapNetwork, NetworkConfig
from napari_emgauss.priors.learned._sampler import PatchPlan, RowDropSampler, log_gaps
from napari_emgauss.priors.learned._training_config import TrainingConfig
from napari_emgauss.priors.learned._training_step import TrainingStep

SMALL = TrainingConfig(10, batch=5, rows=4, columns=14)
GAPS = {"whole": np.array([6.0, 6, 6, 6]), "broken": np.array([6.0, 5.5, 6.25, 9.0])}


IMAGES = np.random.default_rng(0).standard_normal((5, 33, 41)).astype(np.float32)


def make_sampler(gaps: np.ndarray, device: str = "cpu") -> RowDropSampler:
    return RowDropSampler(IMAGES, gaps, 5, SMALL, 1, torch.device(device))


def patch_of(sampler: RowDropSampler, plan: PatchPlan, item: int) -> np.ndarray:
    """The patch of a plan, cut out with slices."""
    image = IMAGES[plan.image[item]]
    image = image.T if plan.transposed[item] else image
    top, left, height = plan.top[item], plan.left[item], plan.offsets[item, -1] + 1
    assert top >= 0 and left >= 0
    patch = image[top : top + height, left : left + sampler.columns]
    assert patch.shape == (height, sampler.columns)
    patch = patch[::-1] if plan.rows_flipped[item] else patch
    return patch[:, ::-1] if plan.columns_flipped[item] else patch


def rows_between(patch: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rows ``(5, R-1, X)`` at five even positions in each gap, by Catmull-Rom's cubic, one after the other."""
    out = np.empty((5, len(offsets) - 1, patch.shape[1]))
    for node, gap in np.ndindex(out.shape[:2]):
        at = offsets[gap] + (node + 1) / 6 * (offsets[gap + 1] - offsets[gap])
        low = int(np.floor(at + 1e-9))
        s = at - low
        before, here, after, beyond = (patch[np.clip(low + k, 0, len(patch) - 1)] for k in (-1, 0, 1, 2))
        slope, next_slope = (after - before) / 2, (beyond - here) / 2
        bend = 3 * (after - here) - 2 * slope - next_slope
        out[node, gap] = here + s * (slope + s * (bend + s * (slope + next_slope - 2 * (after - here))))
    return out


@pytest.mark.parametrize("kind", list(GAPS))
def test_batches_are_those_of_the_plan(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = make_sampler(GAPS[kind])
    plan = sampler.plan(64)
    monkeypatch.setattr(sampler, "plan", lambda steps: plan)
    for step in range(3):
        rows, log_gap, between = sampler.draw()
        assert rows.shape == (5, 4, 14) and log_gap.shape == (5, 3) and between.shape == (5, 5, 3, 14)
        for k in range(5):
            item = step * 5 + k
            patch, offsets = patch_of(sampler, plan, item), plan.offsets[item]
            np.testing.assert_array_equal(rows[k].numpy(), patch[offsets])
            np.testing.assert_allclose(between[k].numpy(), rows_between(patch, offsets), atol=1e-5)
            np.testing.assert_allclose(log_gap[k].numpy(), log_gaps(np.diff(offsets), sampler.usual_gap))
    for turned in (plan.transposed, plan.rows_flipped, plan.columns_flipped):
        assert 0.3 < turned.mean() < 0.7
    assert set(plan.image) == set(range(5))
    assert plan.top.max() > 5 and plan.left.max() > 5


def test_kept_rows_are_as_far_apart_as_slices() -> None:
    sampler = make_sampler(GAPS["broken"])
    offsets = sampler.plan(20).offsets
    steps = np.diff(offsets, axis=1)
    assert set(np.unique(steps)) <= {5, 6, 7, 9} and {5, 6, 7, 9} <= set(np.unique(steps))
    assert (offsets[:, 0] == 0).all() and offsets[:, -1].max() <= 32
    # Forwards 5.5 comes before 6.25 and 9, backwards after them.
    assert (steps[:, -1] == 9).any() and (steps[:, 0] == 9).any()


def test_runs_of_gaps_too_long_for_the_slices_are_replaced() -> None:
    sampler = make_sampler(np.array([6.0, 6, 30, 30, 6]))
    offsets = sampler.plan(4).offsets
    assert (offsets == np.arange(sampler.rows) * 6).all()


def test_no_step_waits_for_the_device(launches: ModuleType) -> None:
    device = torch.device("meta")
    draw = make_sampler(GAPS["broken"], "meta").draw
    step = TrainingStep(GapNetwork(NetworkConfig(5, (4, 6), (1, 1))).to(device), device)
    step(draw(), 0.02, 2e-3, 0.9)
    waits = launches.Waits("meta")
    with waits:
        for _ in range(3):
            step(draw(), 0.02, 2e-3, 0.9)
    assert waits.found == {}


def test_no_step_waits_while_plans_are_sent(launches: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    # A plan is made for 64 steps: a test of fewer would never see the second one.
    monkeypatch.setattr(_sampler, "_STEPS_AT_ONCE", 2)
    device, sent = torch.device("meta"), []

    def prepared(values: np.ndarray, device: torch.device) -> Tensor:
        """As `uploaded`: from page-locked memory, which nobody waits for."""
        sent.append(values.shape)
        return torch.empty(values.shape, dtype=torch.from_numpy(values).dtype, device=device)

    monkeypatch.setattr(_sampler, "uploaded", prepared)
    draw = make_sampler(GAPS["broken"], "meta").draw
    step = TrainingStep(GapNetwork(NetworkConfig(5, (4, 6), (1, 1))).to(device), device)
    step(draw(), 0.02, 2e-3, 0.9)
    sent.clear()
    waits = launches.Waits("meta")
    with waits:
        for _ in range(5):
            step(draw(), 0.02, 2e-3, 0.9)
    assert waits.found == {} and len(sent) == 2 * 2  # steps 3 and 5 begin a plan: places and numbers


def test_recorded_steps_are_the_steps(launches: ModuleType) -> None:
    sampler, device = make_sampler(GAPS["whole"]), torch.device("cpu")
    torch.manual_seed(0)
    networks = [GapNetwork(NetworkConfig(5, (4, 6), (1, 1))) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    plain, graphed = (TrainingStep(network, device) for network in networks)
    # Only fused optimisers take a rate that lies in memory of the device.
    graphed._adam = torch.optim.AdamW(
        graphed._adam.param_groups[0]["params"], 0.0, weight_decay=0.0, betas=(0.9, 0.99), fused=True
    )
    recordings = []

    def keep():
        tensors = [p.data for p in networks[1].parameters()] + graphed._averaged
        tensors += [mean for group in graphed._muon._alike.values() for _, mean in group]
        tensors += [v for state in graphed._adam.state.values() for v in state.values()]
        kept = [t.clone() for t in tensors]
        recordings.append(1)
        return lambda: [tensor.copy_(value) for tensor, value in zip(tensors, kept, strict=True)]

    graphed.graphs = GraphedSteps(launches.tape_recorder(keep), graphed.recording)
    for k in range(8):
        batch, rate, decay = sampler.draw(), 0.02 * 0.9**k, min(0.998, (1 + k) / (10 + k))
        first, second = plain(batch, rate, rate / 10, decay), graphed(batch, rate, rate / 10, decay)
        assert float(second) == pytest.approx(float(first), rel=1e-3), k
    assert recordings == [1]
    for one, other in zip(plain.finish().parameters(), graphed.finish().parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bfloat16_is_used_where_cards_multiply_in_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], fast: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    assert _precision.has_fast_bfloat16(torch.device("cuda", 0)) == fast


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_other_devices_calculate_in_float32(kind: str) -> None:
    device = torch.device(kind)
    assert not _precision.has_fast_bfloat16(device)
    with _precision.low_precision(device):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
