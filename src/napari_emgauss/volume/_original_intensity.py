"""A model that shows the grey values of the file, where it was fitted to evened-out ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss.stack import Region

from ._error import changed_error
from ._model_view import ModelView
from ._protocol import VolumeModel
from ._provenance import Provenance
from ._traits import ModelTraits


def in_original_intensity(model: VolumeModel) -> VolumeModel:
    """The model with the correction of brightness and contrast taken off again.

    Between slices the straight lines of the two neighbours are blended.

    Raises
    ------
    ConfigError
        There was no correction, or one that is no straight line for each slice.
    """
    provenance = Provenance.from_json(model.provenance)
    each = provenance.stack.by_channel
    lines = [one.intensity_lines for one in each]
    if all(line is None for line in lines):
        kind = next((one.intensity_correction for one in each if one.intensity_correction), None)
        why = "its slices were not evened out" if kind is None else f"a correction of the kind {kind} cannot be undone"
        raise ConfigError(f"The model has no original intensity to go back to: {why}.")
    channel = provenance.channel
    if channel is not None and len(each) > 1:
        lines = [lines[channel]]
    if len(lines) != model.channels or any(
        line is None or np.shape(np.asarray(line)) != (len(model.z_nm), 2) for line in lines
    ):
        raise ConfigError(
            "The model's record of its intensity correction does not fit its slices: export the corrected intensity."
        )
    return _OriginalIntensity(model, np.array(lines, dtype=np.float64))


class _OriginalIntensity(ModelView):
    """Grey values at a depth minus that depth's offset, over its gain."""

    def __init__(self, model: VolumeModel, lines: NDArray[np.float64]) -> None:
        super().__init__(model)
        self._lines = lines

    @property
    def traits(self) -> ModelTraits:
        """The model's, and that the correction is off."""
        return replace(super().traits, in_original_intensity=True, error=changed_error(self.model, self._spread))

    def _spread(self, sigma: NDArray[np.float32], depths_nm: NDArray[np.float64], *_: Any) -> NDArray[np.float32]:
        """σ over each depth's gain."""
        gains = np.stack([np.interp(depths_nm, self.z_nm, line[:, 0]) for line in self._lines], axis=1)
        gains = gains[..., None, None] if sigma.ndim == 4 else gains[:, 0, None, None]
        return np.asarray(sigma / np.abs(gains), dtype=np.float32)

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        images = super()._images(depths_nm, region, shape)
        several = images.ndim == 4
        values = images.astype(np.float64) if several else images[:, None].astype(np.float64)
        for channel, line in enumerate(self._lines):
            gain, offset = (np.interp(depths_nm, self.z_nm, column)[:, None, None] for column in line.T)
            values[:, channel] = (values[:, channel] - offset) / gain
        if images.dtype.kind in "iu":
            limits = np.iinfo(images.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        return (values if several else values[:, 0]).astype(images.dtype)
