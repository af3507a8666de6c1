"""The observed slices as targets: which of their pixels count, how thick each is, and where it really lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._losses import reconstruction_loss
from napari_emgauss.render import EmgaussModel, splat

# Jitter of 1.2 pixels gains 3.5 % on a phantom with slices 4 pixels apart, where shifts are found to half a pixel; at
# 6 and 8 pixels apart it gains 1.9 and 1.3 %, and shifts are further off than none.
_LEAST_GAIN = 0.025


class SliceSupervision:
    """What a render is compared with.

    Parameters
    ----------
    images : ndarray
        ``(K, H, W)`` or ``(K, C, H, W)`` observed slices, unit range.
    config : FitConfig
        Settings.
    model : EmgaussModel
        The student, for its depths and its device.
    sound : ndarray, optional
        ``(K, H, W)`` bool: pixels that may supervise; None for all.

    Attributes
    ----------
    shifts : Tensor or None
        ``(K, 2)``, (x, y) pixels by which each slice lies off; None where shifts are not learned.
    """

    def __init__(
        self,
        images: NDArray[np.float32],
        config: FitConfig,
        model: EmgaussModel,
        sound: NDArray[np.bool_] | None = None,
    ) -> None:
        device = model.device
        planes = images[:, None] if images.ndim == 3 else images
        self.config = config
        self._targets = torch.as_tensor(planes, dtype=torch.float32, device=device)
        self._sound = None if sound is None else torch.as_tensor(sound, device=device)[:, None]
        self._thickness = config.slice_thickness
        self.shifts = torch.zeros(len(images), 2, device=device) if config.slice_shifts else None

    def loss(self, model: EmgaussModel, picks: Sequence[int], depths: Sequence[float], *, deform: bool) -> Tensor:
        """Loss of slices ``picks`` rendered at ``depths`` (in t; not quite theirs while depths are noisy).

        Where pixels do not count, both images are the render without its gradient: nothing there, nor around them
        through the windows of SSIM, depends on what the target holds.
        """
        shift = None if self.shifts is None else torch.stack([self.shifts[k] for k in picks])
        return self.compare(self.render(model, depths, deform=deform, shift=shift), picks)

    def compare(self, image: Tensor, picks: Sequence[int]) -> Tensor:
        """Loss of images ``(B, C, H, W)`` against slices ``picks``."""
        # Not indexed by the list of picks: on a GPU that copies the list there.
        target = torch.stack([self._targets[k] for k in picks])
        if self._sound is not None:
            sound = torch.stack([self._sound[k] for k in picks])
            target = torch.where(sound, target, image.detach())
            image = torch.where(sound, image, image.detach())
        return reconstruction_loss(
            image, target, dssim_weight=self.config.dssim_weight, epsilon=self.config.charbonnier_epsilon
        )

    def render(
        self, model: EmgaussModel, depths: Sequence[float], *, deform: bool = True, shift: Tensor | None = None
    ) -> Tensor:
        """What a microscope would see at ``depths``: ``(B, C, H, W)``; the mean over a slice's thickness for slabs."""
        if not deform:
            return model.render_unit(depths, deform=False, shift=shift)
        return model.render_mean(depths, self._thickness, shift=shift)

    def set_shifts(self, shifts_px: NDArray[np.float64]) -> None:
        """Take over shifts ``(K, 2)``, y and x in pixels."""
        if self.shifts is not None:
            self.shifts.copy_(torch.as_tensor(np.asarray(shifts_px)[:, ::-1].copy(), dtype=torch.float32))

    def shifts_px(self) -> NDArray[np.float64] | None:
        """The shifts as ``(K, 2)``, y and x in pixels; None where they are not learned."""
        if self.shifts is None:
            return None
        return np.asarray(self.shifts.detach().cpu().numpy()[:, ::-1], dtype=np.float64)


class ShiftLearner:
    """Learns where slices lie, together with the Gaussians.

    A slice's own knots would follow it wherever it lies, and its shift would learn nothing. So a shift learns from the
    Gaussians as the two neighbouring slices have them, halfway between: what is left then is how far the slice is off.
    Shifts have zero mean and are drawn towards zero (``slice_shift_penalty``), so that slow drifts, which may be the
    tissue's own slant, stay in the picture.

    Parameters
    ----------
    supervision : SliceSupervision
        Whose ``shifts`` are learned.
    model : EmgaussModel
        The student.
    config : FitConfig
        Settings.

    Attributes
    ----------
    gain : float or None
        By which part the shifts lower the loss of slices guessed from their neighbours; None until :meth:`settle`.
    """

    def __init__(self, supervision: SliceSupervision, model: EmgaussModel, config: FitConfig) -> None:
        self._supervision, self._model, self._config = supervision, model, config
        if supervision.shifts is None:
            raise ValueError("These slices are not to be shifted.")
        self._moments = torch.zeros(2, *supervision.shifts.shape, device=supervision.shifts.device)
        self.gain: float | None = None
        # Counted on the host: to ask a GPU for a count would wait for it.
        self._steps = torch.zeros(len(supervision.shifts), 1)

    def step(self, index: int, rate_px: float) -> None:
        """One step of Adam on the shift of slice ``index``, at most about ``rate_px`` pixels long."""
        supervision = self._supervision
        if supervision.shifts is None:
            return
        shift = supervision.shifts[index].clone().requires_grad_(True)
        with torch.enable_grad():
            image = self._without(index, shift)
            loss = supervision.compare(image, [index]) + self._config.slice_shift_penalty * (shift * shift).sum()
            (gradient,) = torch.autograd.grad(loss, shift)
        with torch.no_grad():
            self._steps[index] += 1
            count = float(self._steps[index])
            first, second = self._moments[0, index], self._moments[1, index]
            first.lerp_(gradient, 0.2)
            second.lerp_(gradient * gradient, 0.02)
            step = first / (1 - 0.8**count) / ((second / (1 - 0.98**count)).sqrt().mean() + 1e-12)
            supervision.shifts[index] -= rate_px * step.clamp(-2.0, 2.0)
            supervision.shifts -= supervision.shifts.mean(dim=0)

    @torch.no_grad()
    def settle(self) -> None:
        """Drop the shifts where they explain next to nothing: neighbours were too unlike to tell.

        Where structures move by pixels from slice to slice, what looks like jitter is mostly the tissue itself, and
        taking it off would do harm.
        """
        shifts = self._supervision.shifts
        if shifts is None:
            return
        everything = range(len(shifts))
        before = sum(float(self._supervision.compare(self._without(k, 0 * shifts[k]), [k])) for k in everything)
        after = sum(float(self._supervision.compare(self._without(k, shifts[k]), [k])) for k in everything)
        self.gain = 1.0 - after / max(before, 1e-12)
        if self.gain < _LEAST_GAIN:
            shifts.zero_()

    def _without(self, index: int, shift: Tensor) -> Tensor:
        """Slice ``index`` from the Gaussians of its neighbours: ``(1, C, H, W)``, differentiable in ``shift``."""
        model = self._model
        last = len(model.slice_t) - 1
        # The first and the last slice lie where their two neighbours lead to.
        low, high = (1, 2) if index == 0 else (last - 2, last - 1) if index == last else (index - 1, index + 1)
        t = model.slice_t
        share = float((t[index] - t[low]) / (t[high] - t[low]))
        within = [k for k, window in enumerate(model.windows) if window.first <= low and window.last >= high]
        with torch.no_grad():
            splats = model.cloud_list[within[0]].splats([float(t[low]), float(t[high])])
            means = torch.lerp(splats.means[0], splats.means[1], share)[None]
            inside = min(max(share, 0.0), 1.0)
            conics = torch.lerp(splats.conics[0], splats.conics[1], inside)[None]
            opacities = torch.lerp(splats.opacities[0], splats.opacities[1], inside)[None]
            values = splats.values.detach()
        return splat(means + shift, conics, opacities, values, model.size, backend=model.backend)

    def tensors(self) -> dict[str, Tensor]:
        """The state for a checkpoint."""
        shifts = self._supervision.shifts
        return {} if shifts is None else {"shifts": shifts, "moments": self._moments, "steps": self._steps}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`tensors` gave."""
        for name, mine in self.tensors().items():
            mine.copy_(tensors[name])


def shift_report(shifts_px: NDArray[np.float64] | None) -> dict[str, Any]:
    """Shifts for a model's provenance: each, and how large they are."""
    if shifts_px is None:
        return {}
    length = np.hypot(shifts_px[:, 0], shifts_px[:, 1])
    return {
        "slice_shifts_px": shifts_px.round(3).tolist(),
        "slice_shift_median_px": round(float(np.median(length)), 3),
        "slice_shift_largest_px": round(float(length.max()), 3),
    }
