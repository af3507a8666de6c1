from __future__ import annotations

import numpy as np
import pytest

from napari_emgauss import ConfigError
from napari_emgauss.evaluation import evaluate, write_figure
from napari_emgauss.stack import stack_from_array

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def result():
    values = np.random.default_rng(0).integers(0, 256, (13, 16, 20), dtype=np.uint8)
    return evaluate(stack_from_array(values, (5, 5, 5), allow_isotropic=True), 4, methods=["nearest", "linear"])


def test_a_column_per_method_and_two_rows_per_view(result):
    from napari_emgauss.evaluation._figure import draw

    axes = draw(result).axes
    assert len(axes) == 6 * 3
    shown = [np.asarray(one.images[0].get_array()) for one in axes if one.images]
    assert len(shown) == 3 + 2 * 6  # truth once a view; image and error for each method
    # planes where methods are worst: two slices from a kept one
    assert result.plane_positions == {"xy": 6, "xz": 8, "yz": 10}
    np.testing.assert_array_equal(shown[0], result.truth_planes["xy"])
    difference = result.methods["nearest"].planes["xy"] - result.truth_planes["xy"]
    assert any(image.shape == difference.shape and np.allclose(image, difference) for image in shown)


def test_every_method_is_drawn_from_its_own_planes(result):
    from napari_emgauss.evaluation._figure import draw

    axes = np.array(draw(result).axes).reshape(6, 3)
    for row, view in enumerate(("xy", "xz", "yz")):
        truth = result.truth_planes[view]
        for column, name in enumerate(("nearest", "linear"), start=1):
            image, error = (np.asarray(axes[2 * row + k, column].images[0].get_array()) for k in (0, 1))
            plane = result.methods[name].planes[view]
            assert not np.array_equal(plane, truth)
            np.testing.assert_array_equal(image, plane)
            np.testing.assert_allclose(error, plane - truth, atol=1e-6)
            score = getattr(result.methods[name], view)
            assert f"{score.psnr:.2f} dB / {score.ssim:.3f}" in axes[2 * row, column].get_title()


def test_written_whole_and_nothing_else(result, tmp_path):
    write_figure(result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_an_unknown_format_is_refused(result, tmp_path):
    with pytest.raises(ConfigError, match=r"take \.png"):
        write_figure(result, tmp_path / "figure.xyz")
    assert not list(tmp_path.iterdir())
