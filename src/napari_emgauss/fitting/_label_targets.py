"""Pseudo-labels as the loss takes them: on the device, with a channel axis."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_emgauss._torch import uploaded
from napari_emgauss.fitting._labels import Labels


class LabelTargets:
    """Brings pseudo-labels to a device.

    Parameters
    ----------
    labels : Labels
        What the prior guessed.
    device : torch.device
        Where they are wanted.
    with_confidence : bool
        Bring the prior's confidence, too, where it has one.
    """

    def __init__(self, labels: Labels, device: torch.device, *, with_confidence: bool) -> None:
        self.labels = labels
        self._device, self._with_confidence = device, with_confidence
        self.keep_on_device = device.type == "cuda"
        """Bring labels that are kept in memory once, all of them, in half precision, instead of picture by picture."""
        self._kept: dict[str, Tensor] = {}

    @property
    def on_device(self) -> bool:
        """Whether a pick launches the same work each time: nothing is sent for it."""
        return self.keep_on_device and self.labels.images is not None

    def at(self, picks: list[int]) -> tuple[Tensor, Tensor | None]:
        """Images and confidences ``(B, C, H, W)`` of some labels; no confidences where any of them has none."""
        return self._picked(picks) if self.on_device else self._sent(picks)

    def _picked(self, picks: list[int]) -> tuple[Tensor, Tensor | None]:
        if not self._kept and self.labels.images is not None:
            self._kept["image"] = uploaded(self.labels.images, self._device)
            if self.labels.confidences is not None and self._with_confidence:
                self._kept["confidence"] = uploaded(self.labels.confidences, self._device)
        found = {name: _with_channels(torch.stack([v[k] for k in picks]).float()) for name, v in self._kept.items()}
        return found["image"], found.get("confidence")

    def _sent(self, picks: list[int]) -> tuple[Tensor, Tensor | None]:
        found = [self.labels[pick] for pick in picks]
        image = _with_channels(uploaded(np.stack([label.image for label in found]), self._device))
        confidences = [label.confidence for label in found if label.confidence is not None]
        if not self._with_confidence or len(confidences) < len(found):
            return image, None
        return image, _with_channels(uploaded(np.stack(confidences), self._device))


def _with_channels(images: Tensor) -> Tensor:
    """``(B, C, H, W)`` of images that may lack the channel axis."""
    return images if images.ndim == 4 else images[:, None]
