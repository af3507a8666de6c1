"""Segment Anything 2 in place of the forest: what it outlines on a true slice against what it outlines on a made one.

The protocol follows the paper's downstream evaluation: SAM2 gets the same prompts on both images, and the intersection
over union of its two answers is the score. Prompts are the bounding boxes of the structures in the masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss._remedies import remedy

SMALLEST_STRUCTURE = 64  # pixels; below, a box says nothing about what is in it
_SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}


def load_predictor(weights: str | Path) -> Any:
    """SAM2's image predictor with the weights of a file as Meta names them (``sam2.1_hiera_tiny.pt``, ...).

    Raises
    ------
    ConfigError
        sam2 is not installed, the weights are missing, or their name does not say the model's size.
    """
    path = Path(weights)
    if not path.is_file():
        raise ConfigError(f"There are no SAM2 weights at '{path}'", remedy=remedy("without SAM2"))
    try:
        from sam2.build_sam import build_sam2
        from sam2.sam2_image_predictor import SAM2ImagePredictor
    except ImportError as error:
        raise ConfigError(
            "SAM2 is not installed (see https://github.com/facebookresearch/sam2)", remedy=remedy("without SAM2")
        ) from error
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return SAM2ImagePredictor(build_sam2(model_settings(path.name), str(path), device=device))


def model_settings(file_name: str) -> str:
    """The settings of SAM2 that belong to a file of weights."""
    stem = file_name.rpartition(".")[0]
    family, _, size = stem.partition("_hiera_")
    if family not in ("sam2", "sam2.1") or size not in _SIZES:
        raise ConfigError(
            f"'{file_name}' does not say the model's size: give SAM2's weights under their own name, such as "
            "sam2.1_hiera_tiny.pt."
        )
    return f"configs/{family}/{family}_hiera_{_SIZES[size]}.yaml"


def structure_boxes(mask: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    """Bounding boxes ``(x0, y0, x1, y1)`` of the structures of an ``(H, W)`` mask that are large enough."""
    from skimage.measure import label, regionprops

    boxes = []
    for region in regionprops(label(mask)):
        if region.area >= SMALLEST_STRUCTURE:
            y0, x0, y1, x1 = region.bbox
            boxes.append(np.array([x0, y0, x1 - 1, y1 - 1], dtype=np.float32))
    return boxes


def outlines(predictor: Any, image: NDArray[np.float32], boxes: list[NDArray[np.float32]]) -> list[NDArray[np.bool_]]:
    """What SAM2 finds in each box of an ``(H, W)`` image in the unit range."""
    grey = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    predictor.set_image(np.repeat(grey[..., None], 3, axis=-1))
    found = []
    for box in boxes:
        masks, _, _ = predictor.predict(box=box, multimask_output=False)
        found.append(np.asarray(masks)[0] > 0)
    return found
