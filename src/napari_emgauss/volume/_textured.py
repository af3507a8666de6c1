"""A model whose rendered slices have the texture of the observed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError
from napari_emgauss.stack import Frame, Normalisation, Region

from ._cells import means_of_cells
from ._depths import aligned_spacing
from ._model_view import ModelView
from ._noise import white_noise
from ._protocol import VolumeModel
from ._texture import REACH, Texture, convolved
from ._traits import ModelTraits

# Of a slice this many pixels are worked on at once, some rows of it at a time.
_PIXELS_AT_ONCE = 4 << 20
# Where a sample stands for more pixels a side, the noise has averaged out.
_COARSEST_CELL = 4.0
# Depths went through files: a millionth of a step off is the same depth.
_SAME_DEPTH = 1e-6


class TexturedModel(ModelView):
    """Rendered slices with the contrast and the noise that they lack beside observed ones.

    What is added is a function of the seed, of the pixel and of the depth alone: the same in every crop, and whenever
    that depth is rendered. Noise is independent from slice to slice where slices are a pixel apart (more exactly, the
    default step of :func:`export`); between two such depths the noise of both is blended, its variance kept.

    Parameters
    ----------
    model : VolumeModel
        What renders.
    textures : sequence of Texture
        One for each channel of the model.
    normalisation : Normalisation
        Between the model's grey values and the unit range, of which textures are.
    seed : int
        Of the noise.
    channel : int
        Number of the first channel: the noise of a channel is the same where it is shown alone.

    Raises
    ------
    ConfigError
        There are other channels than textures.
    """

    def __init__(
        self,
        model: VolumeModel,
        textures: Sequence[Texture],
        normalisation: Normalisation,
        *,
        seed: int = 0,
        channel: int = 0,
    ) -> None:
        super().__init__(model)
        if len(textures) != self.channels:
            raise ConfigError(f"There are {len(textures)} textures for a model of {self.channels} channels.")
        self.textures, self.seed = tuple(textures), int(seed)
        self._channel, self._normalisation = channel, normalisation
        self._thickness_nm = aligned_spacing(self.z_nm, float(np.mean(self.pixel_size_nm)))

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the model is from, and the seed."""
        return {**super().provenance, "texture_seed": self.seed}

    @property
    def traits(self) -> ModelTraits:
        """The model's, and that texture is added."""
        return replace(super().traits, look="textured")

    def _images(
        self, depths_nm: NDArray[np.float64], region: Region | None, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        frame = Frame.of(self)
        depths, box = frame.checked_depths(depths_nm), frame.checked_region(region)
        _, (height, width) = frame.sampling(region, shape)
        channels = () if self.channels == 1 else (self.channels,)
        out = np.empty((len(depths), *channels, height, width), self.dtype)
        y0, y1, x0, x1 = box
        band = min(height, max(1, _PIXELS_AT_ONCE // width))
        for top in range(0, height, band):
            bottom = min(height, top + band)
            edges = (y0 + (y1 - y0) * top / height, y0 + (y1 - y0) * bottom / height, x0, x1)
            around = _Surroundings.of(edges, (bottom - top, width), frame.shape[1:])
            for k, depth in enumerate(depths):  # one by one: beside the result, memory is needed for one alone
                rendered = np.asarray(self.model.render(float(depth), region=around.region, shape=around.shape))
                out[k, ..., top:bottom, :] = self._textured(rendered, float(depth), edges, around)
        return out

    def _textured(self, rendered: NDArray[Any], depth_nm: float, box: Region, around: _Surroundings) -> NDArray[Any]:
        """One depth with its surroundings ``(h, w)`` or ``(C, h, w)``, without them and with texture."""
        distance = float(np.abs(self.z_nm - depth_nm).min())
        unit = self._normalisation.to_unit(rendered).astype(np.float64)
        made = []
        for c, image in enumerate(unit if unit.ndim == 3 else unit[None]):
            texture = self.textures[c]
            padded = around.padded(image)
            contrast, grain = texture.filters(distance, around.cells)
            inner = convolved(padded, contrast)
            if max(around.cells) <= _COARSEST_CELL:
                noise = self._noise(depth_nm, grain, box, inner.shape, self._channel + c)
                inside = (slice(REACH, -REACH), slice(REACH, -REACH))
                inner += texture.strength(padded)[inside] * noise
            made.append(inner)
        images = np.stack(made) if unit.ndim == 3 else made[0]
        return self._normalisation.from_unit(images).astype(self.dtype)

    def _noise(
        self, depth_nm: float, grain: NDArray[np.float64], box: Region, shape: tuple[int, ...], channel: int
    ) -> NDArray[np.float64]:
        """Noise of one depth at the cells of a rectangle."""
        y0, y1, x0, x1 = box
        rows, columns = (floor(y0), ceil(y1)), (floor(x0), ceil(x1))
        wide = [(start - REACH, stop + REACH) for start, stop in (rows, columns)]
        white = sum(share * white_noise(self.seed, plane, channel, *wide) for plane, share in self._planes(depth_nm))
        noise = convolved(np.asarray(white), grain)
        if noise.shape == shape and all(edge == int(edge) for edge in box):
            return noise
        return means_of_cells(noise, (y0 - rows[0], y1 - rows[0], x0 - columns[0], x1 - columns[0]), shape)

    def _planes(self, depth_nm: float) -> list[tuple[int, float]]:
        """The planes of noise that a depth shows, and how much of each; the squares of the shares add up to 1."""
        place = (depth_nm - float(self.z_nm[0])) / self._thickness_nm
        whole = floor(place + _SAME_DEPTH)
        rest = place - whole
        if rest <= _SAME_DEPTH:
            return [(whole, 1.0)]
        return [(whole, float(np.cos(rest * np.pi / 2))), (whole + 1, float(np.sin(rest * np.pi / 2)))]


class _Surroundings:
    """A rectangle with ``REACH`` samples more at each side, as far as there are any within the slice."""

    def __init__(
        self, region: Region, shape: tuple[int, int], cells: tuple[float, float], missing: tuple[tuple[int, int], ...]
    ) -> None:
        self.region, self.shape, self.cells = region, shape, cells
        self._missing = missing

    @classmethod
    def of(cls, box: Region, shape: tuple[int, int], size: tuple[int, int]) -> _Surroundings:
        edges: list[float] = []
        counts, cells, missing = [], [], []
        for start, stop, count, length in ((*box[:2], shape[0], size[0]), (*box[2:], shape[1], size[1])):
            cell = (stop - start) / count
            before = min(REACH, floor(start / cell + 1e-9))
            after = min(REACH, floor((length - stop) / cell + 1e-9))
            edges += [max(0.0, start - before * cell), min(float(length), stop + after * cell)]
            counts.append(count + before + after)
            cells.append(round(cell, 9))
            missing.append((REACH - before, REACH - after))
        region = (edges[0], edges[1], edges[2], edges[3])
        return cls(region, (counts[0], counts[1]), (cells[0], cells[1]), tuple(missing))

    def padded(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """The image with ``REACH`` samples more at each side: mirrored where the slice ends."""
        return np.pad(image, self._missing, mode="symmetric")
