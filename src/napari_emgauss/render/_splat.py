"""The one door to all renderers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from napari_emgauss._errors import ConfigError
from napari_emgauss.render._backends import BackendName, backend_for, renderer

Backend = BackendName | Literal["auto"]


def splat(
    means: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    size: tuple[int, int],
    *,
    background: float | Tensor = 0.0,
    backend: Backend = "auto",
) -> Tensor:
    """Render clouds of 2D Gaussians by alpha blending in index order; differentiable.

    ``C = Σ c_i a_i T_i + T_end · background`` with ``a_i = min(0.99, o_i exp(-dᵀ Σ⁻¹ d / 2))``, left out where
    ``a_i < 1/255``, and ``T_i`` the product of ``1 - a_j`` over the splats before ``i`` (EMGauss, arXiv 2512.06684,
    section 3; the constants are those of 3D Gaussian splatting, Kerbl et al. 2023).

    A splat with a mean, conic or opacity that is not finite, or with a conic that is not positive definite, is not
    drawn and gets no gradient. Opacities above 1 are not meant to be used.

    Parameters
    ----------
    means : Tensor
        ``(B, N, 2)`` or ``(N, 2)``: (x, y) in pixels; the first pixel's centre is at (0.5, 0.5).
    conics : Tensor
        ``(..., N, 3)``: a, b, c of ``Σ⁻¹ = [[a, b], [b, c]]``, in 1/pixel². Without the leading B it is shared.
    opacities : Tensor
        ``(..., N)`` in (0, 1). Without the leading B it is shared.
    values : Tensor
        ``(N, C)``: what each splat paints, shared by all B images.
    size : tuple of int
        Rows and columns of the images.
    background : float or Tensor
        What lies behind all splats: a number, or a tensor ``()`` or ``(C,)``.
    backend : str
        ``reference``, ``cpu``, ``triton``, ``cuda``, or ``auto``: the fastest that works for the tensors' device.

    Returns
    -------
    Tensor
        ``(B, C, H, W)``, or ``(C, H, W)`` where ``means`` is ``(N, 2)``.

    Raises
    ------
    ConfigError
        If shapes, dtypes or devices do not fit together.
    BackendError
        If the backend asked for by name cannot be used for these tensors on this machine.
    """
    single = means.dim() == 2
    height, width = (int(v) for v in size)
    if means.dim() not in (2, 3) or means.shape[-1] != 2:
        raise ConfigError(f"means must have shape (N, 2) or (B, N, 2), not {tuple(means.shape)}.")
    if not means.is_floating_point():
        raise ConfigError(f"means must be of a floating type, not {means.dtype}.")
    if single:
        means = means[None]
    batch, count = means.shape[:2]
    conics = _batched(conics, (batch, count, 3), "conics")
    opacities = _batched(opacities, (batch, count), "opacities")
    if values.dim() != 2 or values.shape[0] != count or values.shape[1] < 1:
        raise ConfigError(f"values must have shape ({count}, C), not {tuple(values.shape)}.")
    if height < 1 or width < 1:
        raise ConfigError(f"size must be at least one row and one column, not {height} x {width}.")
    channels = values.shape[1]
    if isinstance(background, Tensor):
        if background.shape not in ((), (1,), (channels,)):
            raise ConfigError(f"background must have shape () or ({channels},), not {tuple(background.shape)}.")
        background = background.to(means).expand(channels)
    else:
        background = means.new_full((channels,), float(background))
    others = {"conics": conics, "opacities": opacities, "values": values}
    for name, tensor in others.items():
        if tensor.dtype != means.dtype or tensor.device != means.device:
            raise ConfigError(
                f"{name} is {tensor.dtype} on {tensor.device} but means is {means.dtype} on {means.device}: "
                "bring them to one dtype and device."
            )
    chosen = backend_for(means.device, means.dtype, backend, batch * height * width)
    image = renderer(chosen)(means, conics, opacities, values, (height, width), background)
    return image[0] if single else image


def warm_up() -> None:
    """Compile or load the CPU kernels, forward and backward: for a thread, before the first picture is wanted."""
    means = torch.tensor([[2.5, 3.5]], requires_grad=True)
    conics = torch.tensor([[1.0, 0.0, 1.0]])
    for channels in (1, 2):
        image = splat(means, conics, torch.tensor([0.5]), torch.ones(1, channels), (5, 7))
        image.sum().backward()


def _batched(tensor: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    if tensor.shape == shape:
        return tensor
    if tensor.shape == shape[1:]:
        return tensor[None].expand(shape)
    raise ConfigError(f"{name} must have shape {shape} or {shape[1:]}, not {tuple(tensor.shape)}.")
