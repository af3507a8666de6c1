"""One step of the self-supervised prior's training: losses, both optimisers, averaged weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from napari_emgauss._torch import GraphedSteps, has_fast_bfloat16, has_fused_adam, low_precision, uploaded
from napari_emgauss.priors._state import check_alike
from napari_emgauss.priors.learned._muon import Muon
from napari_emgauss.priors.learned._network import GapNetwork

VARIANCE_WEIGHT = 0.05
"""Weight of the likelihood beside the squared error; small, since both share the network's features."""


class TrainingStep:
    """Trains a network, batch by batch.

    The mean is fitted with squared error; the log-variance with the Gaussian likelihood of the (detached) error, so
    that a wrong variance never costs quality of the mean. Inner convolutions are trained by Muon, the rest by AdamW.

    Parameters
    ----------
    network : GapNetwork
        On ``device``.
    device : torch.device
        A CUDA device is never waited for, and its steps may be recorded as a graph.
    """

    def __init__(self, network: GapNetwork, device: torch.device) -> None:
        self._network = network
        self._device = device
        self._averaged = [parameter.detach().clone() for parameter in network.parameters()]
        inner, outer = network.inner_and_outer_parameters()
        self._muon = Muon(inner, dtype=torch.bfloat16 if has_fast_bfloat16(device) else torch.float32)
        fused = True if device.type == "cuda" and has_fused_adam(device) else None
        self._adam = torch.optim.AdamW(outer, 0.0, weight_decay=0.0, betas=(0.9, 0.99), fused=fused)
        self.graphs = GraphedSteps.on(device, self.recording)
        self._rates = torch.zeros(3, device=device)
        self._batch: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(
        self, batch: tuple[Tensor, Tensor, Tensor], muon_rate: float, adam_rate: float, decay: float
    ) -> Tensor:
        """One step.

        Parameters
        ----------
        batch : tuple of Tensor
            Rows ``(B, R, X)``, log gaps ``(B, R-1)``, the rows between ``(B, nodes, R-1, X)``, on the device.
        muon_rate, adam_rate : float
            Learning rates.
        decay : float
            Of the averaged weights.

        Returns
        -------
        Tensor
            ``()``: mean squared error before the step.
        """
        if not self.graphs.active:
            self._adam.param_groups[0]["lr"] = adam_rate
            return self._step(batch, muon_rate, 1 - decay)
        if self._batch is None:
            rows, log_gap, target = (tensor.clone() for tensor in batch)
            self._batch = rows, log_gap, target
            self._adam.param_groups[0]["lr"] = self._rates[0]
        for mine, given in zip(self._batch, batch, strict=True):
            mine.copy_(given)
        now = np.array([adam_rate, muon_rate, 1 - decay], dtype=np.float32)
        self._rates.copy_(uploaded(now, self._device))
        fixed = self._batch
        return self.graphs.run(
            "step", lambda: self._step(fixed, self._rates[1], self._rates[2]), lambda: self._losses(fixed)[1]
        )

    def _losses(self, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What is minimised, and the mean squared error."""
        rows, log_gap, target = batch
        with low_precision(self._device):
            mean, log_variance = self._network(rows, log_gap)
        squared = (mean - target) ** 2
        log_variance = log_variance.clamp(-8, 4)
        likelihood = squared.detach() * torch.exp(-log_variance) + log_variance
        error = squared.mean()
        return error + VARIANCE_WEIGHT * likelihood.mean(), error.detach()

    def _step(self, batch: tuple[Tensor, Tensor, Tensor], muon_rate: float | Tensor, towards: float | Tensor) -> Tensor:
        loss, error = self._losses(batch)
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._adam.step()
        self._muon.step(muon_rate)
        parameters: list[Tensor] = list(self._network.parameters())
        with torch.no_grad():
            if isinstance(towards, Tensor):
                for mean, parameter in zip(self._averaged, parameters, strict=True):
                    mean.lerp_(parameter, towards)
            else:
                torch._foreach_lerp_(self._averaged, parameters, towards)
        return error

    @torch.no_grad()
    def averaged_error(self, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> float:
        """Mean squared error of the averaged weights on batches as those of a step; the training is left as it was."""
        parameters: list[Tensor] = list(self._network.parameters())
        present = [parameter.clone() for parameter in parameters]
        torch._foreach_copy_(parameters, self._averaged)
        try:
            return float(torch.stack([self._losses(batch)[1] for batch in batches]).mean())
        finally:
            torch._foreach_copy_(parameters, present)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While a step is recorded: torch wants to be told; gradients that are left lie in the recording's memory."""
        try:
            self._adam.param_groups[0]["capturable"] = True
            yield
        finally:
            self._adam.param_groups[0]["capturable"] = False
            self._network.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Where the training is, by name: weights, their averages and what both optimisers remember."""
        out = {f"network/{name}": value.detach() for name, value in self._network.named_parameters()}
        out.update({f"averaged/{k}": value for k, value in enumerate(self._averaged)})
        out.update({f"muon/{k}": value for k, value in enumerate(self._muon.means())})
        for k, parameter in enumerate(self._adam.param_groups[0]["params"]):
            out.update({f"adam/{k}/{name}": value for name, value in self._adam_state(parameter).items()})
        return out

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where another training of the same network was.

        Raises
        ------
        ValueError
            The tensors are not those of such a training.
        """
        for parameter in self._adam.param_groups[0]["params"]:
            self._adam.state[parameter] = self._adam_state(parameter)
        mine = self.tensors()
        check_alike(tensors, mine)
        for name, value in mine.items():
            value.copy_(tensors[name])

    def _adam_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """What AdamW remembers of a parameter; what it would begin with, where it has not seen it."""
        known: dict[str, Tensor] = self._adam.state.get(parameter, {})
        if known:
            return {name: known[name] for name in ("step", "exp_avg", "exp_avg_sq")}
        # torch counts steps on the host unless its fused step needs the number on the card.
        there = parameter.device if self._adam.defaults["fused"] else None
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        return {"step": torch.zeros((), device=there), **moments}

    @torch.no_grad()
    def finish(self) -> GapNetwork:
        """The network with its averaged weights, in evaluation mode."""
        for parameter, mean in zip(self._network.parameters(), self._averaged, strict=True):
            parameter.copy_(mean)
        return self._network.eval()
