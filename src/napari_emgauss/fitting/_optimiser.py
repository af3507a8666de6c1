"""Adam over named groups of a model's parameters, which can follow a cloud as it grows and shrinks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from napari_emgauss._torch import has_fused_adam, uploaded
from napari_emgauss.model import GaussianModel

CANONICAL_GROUPS = ("means", "log_scales", "rotations", "opacity_logits", "values")


def group_of(name: str) -> str:
    """Group of a parameter by its name in the model: a canonical attribute, ``knots`` or ``field``."""
    parts = name.split(".")
    if parts[2] != "field":
        return parts[2]
    return "knots" if parts[3] == "knots" else "field"


class ModelOptimiser:
    """Adam with a learning rate per group.

    Parameters that got no gradient in an iteration (knots of other depths, the field during warm-up) are left alone,
    moments included.

    Parameters
    ----------
    model : GaussianModel
        Whose parameters are trained.
    rates_on_device : bool
        Keep the learning rates in memory of the device, so that a recorded step sees those of its iteration.
    """

    def __init__(self, model: GaussianModel, *, rates_on_device: bool = False) -> None:
        groups: dict[str, list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            groups.setdefault(group_of(name), []).append(parameter)
        device = next(model.parameters()).device
        # 1e-15 as in 3D Gaussian splatting: many gradients here are tiny.
        self._adam = torch.optim.Adam(
            [{"params": parameters, "name": name, "lr": 0.0} for name, parameters in groups.items()],
            eps=1e-15,
            betas=(0.9, 0.999),
            # Where it does not run, torch chooses what does.
            fused=has_fused_adam(device) or None,
        )
        self._rates: Tensor | None = None
        if rates_on_device:
            self._rates = torch.zeros(len(groups), device=device)
            for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
                group["lr"] = rate

    def set_learning_rates(self, rates: dict[str, float]) -> None:
        """Rates by group, for the next step."""
        groups = self._adam.param_groups
        if self._rates is None:
            for group in groups:
                group["lr"] = rates[group["name"]]
            return
        now = np.array([rates[group["name"]] for group in groups], dtype=np.float32)
        self._rates.copy_(uploaded(now, self._rates.device))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While a step is recorded: torch wants to be told, and warns of it at any other time."""
        try:
            for group in self._adam.param_groups:
                group["capturable"] = True
            yield
        finally:
            for group in self._adam.param_groups:
                group["capturable"] = False

    def step(self) -> None:
        """One Adam step on all parameters that have a gradient, and forget the gradients."""
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def reindex(self, parameter: nn.Parameter, index: Tensor, is_new: Tensor) -> None:
        """Moments of a parameter that became ``parameter[index]``; zero where ``is_new``."""
        state = self._adam.state.get(parameter)
        if not state:
            return
        for key in ("exp_avg", "exp_avg_sq"):
            moments = state[key][index]
            moments[is_new] = 0.0
            state[key] = moments

    def tensors(self, model: GaussianModel) -> dict[str, Tensor]:
        """The state as named tensors, for a checkpoint."""
        out: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            for key, value in self._adam.state.get(parameter, {}).items():
                out[f"{name}:{key}"] = value
        return out

    def restore(self, model: GaussianModel, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`tensors` gave."""
        parameters = dict(model.named_parameters())
        for full, value in tensors.items():
            name, key = full.rsplit(":", 1)
            self._adam.state[parameters[name]][key] = value.to(parameters[name].device, copy=True)
