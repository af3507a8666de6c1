from __future__ import annotations

import pytest
import torch

from napari_emgauss.priors.learned._muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(1, 6, 20), (2, 20, 6)])
def test_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    out = orthogonalised(matrices)
    values = torch.linalg.svdvals(out)
    assert values.min() > 0.6
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrices[0], full_matrices=False)
    overlap = (left.T @ out[0] @ right.T).diagonal()  # the singular vectors stay
    torch.testing.assert_close(overlap, values[0].sort().values[overlap.argsort().argsort()], atol=1e-3, rtol=1e-3)


def test_step_goes_downhill_and_forgets_gradients() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 3, 3, 3))
    target = torch.randn(4, 3, 3, 3)
    optimiser = Muon([weight], weight_decay=0.0)
    losses = []
    for iteration in range(60):
        loss = (weight - target).square().sum()
        losses.append(float(loss.detach()))
        loss.backward()
        optimiser.step(0.2 * (1 - iteration / 60))
        assert weight.grad is None
    assert losses[-1] < 0.1 * losses[0]


def test_a_missing_gradient_is_told() -> None:
    with pytest.raises(RuntimeError, match="without gradients"):
        Muon([torch.nn.Parameter(torch.zeros(2, 2, 3, 3))]).step(0.1)
