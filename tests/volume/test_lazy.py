"""LazyVolume: indexes like NumPy, renders only what is looked at, once per version."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from napari_emgauss.volume import LazyVolume, RenderCache, pyramid

from .conftest import AnalyticModel

Make = Callable[..., AnalyticModel]


def test_grid(make_model: Make) -> None:
    volume = LazyVolume(make_model())
    assert volume.shape == (31, 6, 7)
    assert volume.dtype == np.float32
    assert volume.z_nm[[0, 10, 30]].tolist() == [1000, 1040, 1120]
    assert volume.scale_nm == (4.0, 4.0, 4.0)
    assert (volume.ndim, volume.size, len(volume), volume.chunks) == (3, 31 * 6 * 7, 31, (1, 6, 7))


def test_observed_slices_lie_on_the_default_grid(make_model: Make) -> None:
    volume = LazyVolume(make_model(step_nm=50.0, pixel_size_nm=(4.6, 4.6)))
    assert volume.shape[0] == 3 * 11 + 1
    np.testing.assert_allclose(volume.z_nm[::11], [1000, 1050, 1100, 1150])


def test_indexing_does_not_render(make_model: Make) -> None:
    model = make_model()
    volume = LazyVolume(model)
    assert volume[:, 1:4, 2:5][3].shape == (3, 3)
    assert volume[..., 0].shape == (31, 6)
    assert volume[3:5, ::2].shape == (2, 3, 7)
    assert volume[2, 3, 4].shape == ()
    assert model.boxes == []


def test_a_tile_renders_only_itself(make_model: Make) -> None:
    model = make_model()
    tile = np.asarray(LazyVolume(model)[:, 1:4, 2:6][7])
    assert model.boxes == [(1, 3, 4)]
    np.testing.assert_allclose(tile, model.truth([1028])[0, 1:4, 2:6])


def ranges(size: int) -> st.SearchStrategy[slice]:
    ends = st.none() | st.integers(-size - 2, size + 2)
    return st.builds(slice, ends, ends, st.none() | st.integers(-3, 3).filter(bool))


@given(
    ranges(31) | st.integers(-31, 30),
    ranges(6) | st.integers(-6, 5),
    ranges(7) | st.integers(-7, 6),
)
def test_indexing_is_numpys(z: Any, y: Any, x: Any) -> None:
    model = AnalyticModel()
    volume = LazyVolume(model)
    expected = model.truth(volume.z_nm)[z, y, x]
    view = volume[z, y, x]
    assert view.shape == expected.shape
    np.testing.assert_allclose(np.asarray(view), expected, rtol=1e-6)
    if isinstance(z, slice) and isinstance(y, slice) and isinstance(x, slice):
        again = volume[z][:, y][:, :, x][::-1, ::2]
        np.testing.assert_allclose(np.asarray(again), expected[::-1, ::2], rtol=1e-6)


@pytest.mark.parametrize("key", [31, -32, (0, 6), (0, 0, 0, 0), [1, 2], 1.5, (..., 0, ...)])
def test_refuses(make_model: Make, key: Any) -> None:
    with pytest.raises(IndexError):
        LazyVolume(make_model())[key]


def test_second_look_comes_from_the_cache(make_model: Make) -> None:
    model = make_model()
    volume = LazyVolume(model)
    first = np.asarray(volume[5])
    np.testing.assert_array_equal(np.asarray(volume[5]), first)
    np.testing.assert_array_equal(np.asarray(volume[3:7])[2], first)
    assert [box[0] for box in model.boxes] == [1, 3]


def test_new_version_is_rendered_anew(make_model: Make) -> None:
    model = make_model()
    volume = LazyVolume(model)
    before = np.asarray(volume[5])
    model.offset, model.version = 50.0, 1
    np.testing.assert_allclose(np.asarray(volume[5]), before + 50)


def test_writing_into_a_result_does_not_spoil_the_cache(make_model: Make) -> None:
    volume = LazyVolume(make_model())
    first = np.array(volume[5])
    np.asarray(volume[5])[:] = 0
    np.testing.assert_array_equal(np.asarray(volume[5]), first)


def test_neighbouring_rows_come_with_a_vertical_section(make_model: Make) -> None:
    model = make_model((4, 40, 7))
    volume = LazyVolume(model)
    sections = [np.asarray(volume[:, y]) for y in range(16)]
    assert len(model.boxes) == 1
    truth = model.truth(volume.z_nm)
    for y, section in enumerate(sections):
        np.testing.assert_allclose(section, truth[:, y])
    np.testing.assert_allclose(np.asarray(volume[:, 39]), truth[:, 39])
    np.testing.assert_allclose(np.asarray(volume[:, 2:5, 6]), truth[:, 2:5, 6])


def test_a_plane_in_the_cache_does_not_keep_its_whole_batch(make_model: Make) -> None:
    cache = RenderCache()
    part = LazyVolume(make_model(), cache=cache)[:4]
    np.asarray(part)
    for depth in part.z_nm:
        plane = cache.get((*part.drawing().box.key, float(depth)))
        assert plane is not None and plane.base is None


def test_cache_is_bounded(make_model: Make) -> None:
    cache = RenderCache(5 * 6 * 7 * 4)
    model = make_model()
    volume = LazyVolume(model, cache=cache)
    for k in range(20):
        np.asarray(volume[k])
    assert len(cache) == 5
    assert cache.nbytes == 5 * 6 * 7 * 4
    np.asarray(volume[19])
    assert len(model.boxes) == 20
    cache.max_bytes = 6 * 7 * 4
    assert len(cache) == 1
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_models_that_share_a_cache_do_not_mix(make_model: Make) -> None:
    cache = RenderCache()
    one, other = make_model(), make_model()
    other.offset = 7.0
    first = np.asarray(LazyVolume(one, cache=cache)[3])
    np.testing.assert_allclose(np.asarray(LazyVolume(other, cache=cache)[3]), first + 7)


def test_deepcopy_is_the_same(make_model: Make) -> None:
    volume = LazyVolume(make_model())
    assert copy.deepcopy(volume) is volume


def test_copy_false_and_dtype(make_model: Make) -> None:
    volume = LazyVolume(make_model(dtype="uint16"))
    assert np.asarray(volume[2]).dtype == np.uint16
    assert np.asarray(volume[2], dtype=np.float64).dtype == np.float64


def test_several_threads(make_model: Make) -> None:
    model = make_model((12, 20, 30))
    volume = LazyVolume(model, cache=RenderCache(20 * 30 * 4 * 10))
    truth = model.truth(volume.z_nm)
    chosen = np.random.default_rng(0).integers(0, len(volume), 300).tolist()
    with ThreadPoolExecutor(6) as pool:
        for k, plane in zip(chosen, pool.map(lambda k: np.asarray(volume[k]), chosen), strict=True):
            np.testing.assert_allclose(plane, truth[k])


def test_pyramid_shapes(make_model: Make) -> None:
    levels = pyramid(make_model((12, 1100, 900)))
    assert [level.shape for level in levels] == [(111, 1100, 900), (111, 550, 450), (111, 275, 225), (111, 160, 160)]
    small = pyramid(make_model())
    assert [level.shape for level in small] == [(31, 6, 7)]
    deep = pyramid(make_model((40, 6, 7)))
    assert [level.shape for level in deep] == [(391, 6, 7), (160, 6, 7)]


def test_pyramid_levels_are_aligned(make_model: Make) -> None:
    model = make_model((12, 301, 203))
    levels = pyramid(model, smallest=100, limit_3d=40)
    assert [level.shape for level in levels] == [(111, 301, 203), (111, 151, 102), (40, 40, 40)]
    fine = levels[0]
    for level in levels:
        # The model is linear in z, y and x: the mean over equal cells is the mean of the whole, if they tile it.
        np.testing.assert_allclose(np.asarray(level).mean(dtype=float), np.asarray(fine).mean(dtype=float), rtol=1e-5)
    assert levels[1].cache is fine.cache


def test_pyramid_of_a_range(make_model: Make) -> None:
    level = pyramid(make_model(), spacing_nm=5, z_range_nm=(1010, 1050))[0]
    assert level.z_nm.tolist() == [1010, 1015, 1020, 1025, 1030, 1035, 1040, 1045, 1050]
