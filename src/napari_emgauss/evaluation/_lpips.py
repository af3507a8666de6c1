"""LPIPS, where its weights are at hand: they are trained on photographs and are not part of this package.

References
----------
.. [1] R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, "The Unreasonable Effectiveness of Deep Features as a
   Perceptual Metric", CVPR 2018, arXiv 1801.03924.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError

if TYPE_CHECKING:
    import torch

SMALLEST_SIDE = 35  # pixels: below, the deepest features have no pixel
HOW_TO_SAVE = "torch.save(lpips.LPIPS(net='alex').state_dict(), FILE), or save_file of safetensors"
# (weights in the file, side of the kernel, stride, padding, whether 3 x 3 pixels are pooled by 2 before)
_LAYERS: tuple[tuple[str, tuple[int, ...], int, int, bool], ...] = (
    ("net.slice1.0", (64, 3, 11, 11), 4, 2, False),
    ("net.slice2.3", (192, 64, 5, 5), 1, 2, True),
    ("net.slice3.6", (384, 192, 3, 3), 1, 1, True),
    ("net.slice4.8", (256, 384, 3, 3), 1, 1, False),
    ("net.slice5.10", (256, 256, 3, 3), 1, 1, False),
)
# What the network was trained with: colours from -1 to 1, less this, over that [1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class Lpips:
    """Learned perceptual image patch similarity [1] with AlexNet, version 0.1, as the package ``lpips`` computes it.

    Parameters
    ----------
    path : str or Path
        The state dict of ``lpips.LPIPS(net="alex")``, as safetensors or as ``torch.save`` writes it; no other object
        is unpickled.

    Raises
    ------
    ConfigError
        The file cannot be read, or holds other weights.
    """

    def __init__(self, path: str | Path) -> None:
        self._weights = _checked(_read(Path(path)), Path(path))

    def __call__(self, image: NDArray[np.floating], truth: NDArray[np.floating]) -> float | None:
        """Distance of two ``(H, W)`` grey images in the unit range: 0 for equal ones; None below 35 pixels a side."""
        import torch

        if min(np.shape(truth)) < SMALLEST_SIDE:
            return None
        with torch.inference_mode():
            first, second = self._features(image), self._features(truth)
            total = 0.0
            for k, (a, b) in enumerate(zip(first, second, strict=True)):
                line = self._weights[f"lin{k}.model.1.weight"].reshape(-1, 1, 1)
                total += float((line * (_normalised(a) - _normalised(b)) ** 2).sum(dim=0).mean())
        return total

    def _features(self, image: NDArray[np.floating]) -> list[torch.Tensor]:
        import torch
        from torch.nn import functional

        grey = 2 * torch.as_tensor(np.asarray(image, dtype=np.float32)) - 1
        shift, scale = (torch.tensor(values).reshape(3, 1, 1) for values in (_SHIFT, _SCALE))
        here = ((grey.expand(3, -1, -1) - shift) / scale)[None]
        found = []
        for name, _, stride, padding, pooled in _LAYERS:
            if pooled:
                here = functional.max_pool2d(here, 3, 2)
            weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
            here = functional.relu(functional.conv2d(here, weight, bias, stride, padding))
            found.append(here[0])
        return found


def _normalised(features: torch.Tensor) -> torch.Tensor:
    return features / (features.square().sum(dim=0, keepdim=True).sqrt() + 1e-10)


def _read(path: Path) -> dict[str, Any]:
    """Tensors by name; nothing but tensors is ever unpickled."""
    import torch

    if not path.is_file():
        raise ConfigError(f"There is no file '{path}' with LPIPS weights.")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of either library, for whatever the file is instead
        raise ConfigError(f"'{path.name}' holds no weights that can be read: save them with {HOW_TO_SAVE}.") from error
    return dict(values) if isinstance(values, dict) else {}


def _checked(values: dict[str, Any], path: Path) -> dict[str, torch.Tensor]:
    import torch

    wanted: dict[str, tuple[int, ...]] = {}
    for k, (name, shape, *_) in enumerate(_LAYERS):
        wanted |= {f"{name}.weight": shape, f"{name}.bias": shape[:1], f"lin{k}.model.1.weight": (1, shape[0], 1, 1)}
    for name, shape in wanted.items():
        value = values.get(name)
        if not isinstance(value, torch.Tensor) or tuple(value.shape) != shape:
            raise ConfigError(
                f"'{path.name}' holds no weights of LPIPS with AlexNet ('{name}' is missing or has another shape): "
                f"save them with {HOW_TO_SAVE}."
            )
    return {name: values[name].float() for name in wanted}
