"""A simple segmenter that is the same for every method: how well it works tells how much of a structure is left.

A random forest on scikit-image's multiscale features (intensity, edges, texture), as ilastik and Labkit made common. It
is meant to be a fixed yardstick, not a good segmentation; a forest needs no tuning, no scaling of its features and no
GPU, and gives the same result for the same seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError

SMALLEST_SIGMA = 1.0  # pixels
LARGEST_SIGMA = 8.0
TREES = 60
TREE_DEPTH = 14
LEAF_SAMPLES = 5
TRAINING_PIXELS = 40_000


class ForestSegmenter:
    """Pixel classifier for one kind of structure.

    Parameters
    ----------
    seed : int
        Of the choice of training pixels and of the trees.
    """

    name = "a random forest"

    def __init__(self, seed: int = 0) -> None:
        try:
            from sklearn.ensemble import RandomForestClassifier
        except ImportError as error:
            raise ConfigError(
                "Scoring with masks needs scikit-learn: install it with  pip install 'napari-emgauss[evaluate]'."
            ) from error
        self._seed = seed
        self._forest: Any = RandomForestClassifier(
            TREES, max_depth=TREE_DEPTH, min_samples_leaf=LEAF_SAMPLES, random_state=seed, n_jobs=1
        )

    def train(self, images: NDArray[np.float32], masks: NDArray[np.bool_]) -> None:
        """Learn from true slices: ``(n, H, W)`` images in the unit range, and where the structure is.

        Raises
        ------
        ConfigError
            The masks show nothing but structure, or none at all.
        """
        if masks.all() or not masks.any():
            raise ConfigError(
                "The masks of the training region show either no structure or nothing but structure: give masks "
                "that have both "
                "in the left half of the volume."
            )
        random = np.random.default_rng(self._seed)
        features, labels = [], []
        per_slice = max(TRAINING_PIXELS // len(images), 100)
        for image, mask in zip(images, masks, strict=True):
            every = image_feature_maps(image)
            chosen = random.choice(mask.size, size=min(per_slice, mask.size), replace=False)
            features.append(every.reshape(-1, every.shape[-1])[chosen])
            labels.append(mask.ravel()[chosen])
        known = np.concatenate(labels)
        if known.all() or not known.any():
            raise ConfigError("The structure in the training region is too small to learn from.")
        self._forest.fit(np.concatenate(features), known)

    def probability(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of the structure at each pixel of an ``(H, W)`` image."""
        maps = image_feature_maps(image)
        values = self._forest.predict_proba(maps.reshape(-1, maps.shape[-1]))[:, 1]
        return values.reshape(image.shape).astype(np.float32)


def image_feature_maps(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features of each pixel: ``(H, W, F)``."""
    from skimage.feature import multiscale_basic_features

    maps: NDArray[np.float32] = multiscale_basic_features(
        np.ascontiguousarray(image, dtype=np.float32),
        sigma_min=SMALLEST_SIGMA,
        sigma_max=LARGEST_SIGMA,
    )
    return maps
