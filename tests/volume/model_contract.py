"""What every model that can be shown or exported must keep to: inherit, and make one in the fixture ``model``."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from napari_emgauss._errors import EmgaussError
from napari_emgauss.stack import Frame
from napari_emgauss.volume import VolumeModel


class VolumeModelContract:
    """``model`` has at least 2 slices of at least 8 rows and 8 columns, of one size in z, y and x each."""

    @pytest.fixture
    def model(self) -> VolumeModel:
        raise NotImplementedError

    def depths(self, model: VolumeModel) -> Any:
        """An observed slice, one in between, and both ends."""
        z_nm = model.z_nm
        return np.array([z_nm[0], 0.3 * z_nm[0] + 0.7 * z_nm[1], z_nm[1], z_nm[-1]])

    def per_pixel(self, model: VolumeModel) -> tuple[int, ...]:
        return () if model.channels == 1 else (model.channels,)

    def test_it_says_where_it_lies(self, model: VolumeModel) -> None:
        slices, height, width = model.shape
        assert len({slices, height, width}) == 3, "different sizes, or mixed axes are not seen"
        z_nm = np.asarray(model.z_nm)
        assert z_nm.shape == (slices,) and (np.diff(z_nm) > 0).all()
        assert len(model.pixel_size_nm) == 2 and min(model.pixel_size_nm) > 0
        assert np.dtype(model.dtype) == model.dtype and isinstance(model.version, int) and model.channels >= 1

    def test_provenance_can_be_written_into_files(self, model: VolumeModel) -> None:
        assert json.loads(json.dumps(model.provenance)) == model.provenance

    def test_one_depth_has_no_axis_and_several_have_one(self, model: VolumeModel) -> None:
        depths, (_, height, width) = self.depths(model), model.shape
        several = model.render(depths)
        assert several.shape == (4, *self.per_pixel(model), height, width) and several.dtype == model.dtype
        for depth, image in zip(depths, several, strict=True):
            np.testing.assert_array_equal(model.render(float(depth)), image)
        assert model.render([float(depths[1])]).shape == (1, *self.per_pixel(model), height, width)

    def test_a_region_of_whole_pixels_is_that_part(self, model: VolumeModel) -> None:
        depth, (_, height, width) = float(self.depths(model)[1]), model.shape
        part = model.render(depth, region=(2, height - 1, 3, width))
        whole = model.render(depth)
        assert part.shape == whole[..., 2 : height - 1, 3:].shape
        # Renderers sum in another order where boxes differ: a grey level at most.
        np.testing.assert_allclose(part.astype(float), whole[..., 2 : height - 1, 3:].astype(float), atol=1.0)

    def test_a_region_is_sampled_with_as_many_cells_as_asked_for(self, model: VolumeModel) -> None:
        _, height, width = model.shape
        coarse = model.render(self.depths(model), region=(0, height, 0.5, width - 0.5), shape=(3, 5))
        assert coarse.shape == (4, *self.per_pixel(model), 3, 5)

    def test_depths_outside_are_refused_and_rounded_ones_are_not(self, model: VolumeModel) -> None:
        first, last = float(model.z_nm[0]), float(model.z_nm[-1])
        slack = 1e-7 * (last - first)
        np.testing.assert_array_equal(model.render(last + slack), model.render(last))
        for outside in (first - 0.01 * (last - first), last + 0.01 * (last - first)):
            with pytest.raises(EmgaussError, match=f"outside the fitted volume; choose one from {first:g} to"):
                model.render([first, outside])

    def test_regions_outside_are_refused(self, model: VolumeModel) -> None:
        _, height, width = model.shape
        for region in ((0, height + 1, 0, width), (0, height, 5, 5), (-1, height, 0, width)):
            with pytest.raises(EmgaussError, match="outside the fitted slices"):
                model.render(float(model.z_nm[0]), region=region)

    def test_several_threads_may_ask(self, model: VolumeModel) -> None:
        depths = [float(depth) for depth in self.depths(model)] * 4
        expected = [model.render(depth) for depth in depths]
        with ThreadPoolExecutor(4) as threads:
            for image, wanted in zip(threads.map(model.render, depths), expected, strict=True):
                np.testing.assert_array_equal(image, wanted)

    def test_confidence_lies_where_the_model_does(self, model: VolumeModel) -> None:
        confidence = model.confidence
        if confidence is None:
            return
        ours, its = Frame.of(model), Frame.of(confidence)
        np.testing.assert_array_equal(ours.z_nm, its.z_nm)
        assert (ours.shape, ours.pixel_size_nm) == (its.shape, its.pixel_size_nm)
        assert confidence.dtype == np.uint8 and confidence.channels == 1 and confidence.confidence is None
        assert (confidence.render(float(model.z_nm[1])) == 255).all(), "an observed slice is certain"

    def test_nothing_it_says_changes_by_looking(self, model: VolumeModel) -> None:
        version, provenance = model.version, copy.deepcopy(model.provenance)
        model.render(self.depths(model))
        assert model.version == version and model.provenance == provenance
