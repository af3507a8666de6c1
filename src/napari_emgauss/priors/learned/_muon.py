"""Muon: momentum made orthogonal before it is applied, which trains small convolutional networks in fewer steps.

Method: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). Only the inner convolutions
are trained so; first and last layers and biases stay with AdamW. PyTorch's own Muon takes matrices alone and came with
2.9; convolutions are read as matrices of ``out x (in * kernel)`` here.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Quintic Newton-Schulz iteration of the reference: fast rather than exact, singular values end within 0.7 ... 1.2."""


class Muon:
    """The optimiser, for convolution weights ``(out, in, ky, kx)``.

    Parameters
    ----------
    parameters : iterable of Parameter
        Weights to train.
    momentum : float
        Of the running mean of gradients (Nesterov's form).
    weight_decay : float
        Decoupled, per unit of learning rate.
    dtype : torch.dtype
        Of the orthogonalisation; bfloat16 is enough where it is fast.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        momentum: float = 0.95,
        weight_decay: float = 1e-3,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._dtype = dtype
        self._alike: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
        for parameter in parameters:
            shape = (parameter.shape[0], parameter[0].numel())
            self._alike.setdefault(shape, []).append((parameter, torch.zeros_like(parameter)))

    def means(self) -> list[Tensor]:
        """The running means of the gradients, always in the same order: all that is remembered between steps."""
        return [mean for group in self._alike.values() for _, mean in group]

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor) -> None:
        """Apply and forget the gradients. Weights of one shape are orthogonalised together."""
        for (rows, columns), group in self._alike.items():
            updates = []
            for parameter, mean in group:
                gradient = parameter.grad
                if gradient is None:
                    raise RuntimeError("Muon was asked to step without gradients.")
                mean.lerp_(gradient, 1 - self._momentum)
                updates.append(gradient.lerp(mean, self._momentum).reshape(rows, columns))
                parameter.grad = None
            steps = orthogonalised(torch.stack(updates).to(self._dtype)).float() * max(1.0, rows / columns) ** 0.5
            for (parameter, _), step in zip(group, steps, strict=True):
                parameter.mul_(1 - learning_rate * self._weight_decay)
                if isinstance(learning_rate, Tensor):
                    parameter.sub_(step.reshape(parameter.shape) * learning_rate)
                else:
                    parameter.add_(step.reshape(parameter.shape), alpha=-learning_rate)


def orthogonalised(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Matrices ``(n, rows, columns)`` with the same singular vectors and singular values near one."""
    a, b, c = _COEFFICIENTS
    out = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = out.shape[-2] > out.shape[-1]
    if tall:
        out = out.mT
    for _ in range(iterations):
        gram = out @ out.mT
        out = a * out + (b * gram + c * gram @ gram) @ out
    return out.mT if tall else out
