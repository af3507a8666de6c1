from __future__ import annotations

import json
import math

import numpy as np
import pytest

from napari_emgauss import ConfigError, FitError, Progress
from napari_emgauss.evaluation import evaluate, method_names, thin
from napari_emgauss.stack import stack_from_array


def isotropic(values):
    return stack_from_array(values, (5.0, 5.0, 5.0), allow_isotropic=True)


def noise_volume(shape=(13, 16, 18)):
    return isotropic(np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8))


def quadratic_volume():
    """Grey value (z/12)² in floats, plus a constant pattern in plane: the error of linear interpolation is known.

    Kept in floats, so that nothing is rounded.
    """
    z = np.arange(13, dtype=np.float64)[:, None, None] / 12
    pattern = np.zeros((12, 15))
    pattern[::2, ::3] = 0.25
    return z**2 * 0.5 + pattern


def test_identity_scores_inf_one_one():
    volume = noise_volume()
    whole = np.asarray(volume.slices)
    scores = evaluate(volume, 4, reconstructions={"identity": whole}).methods["identity"]
    for view in (scores.xy, scores.xz, scores.yz):
        assert view.psnr == math.inf
        assert view.ssim == pytest.approx(1.0)
        assert view.fsim == pytest.approx(1.0, abs=1e-6)
    assert scores.seconds is None


def test_shuffled_slices_score_worse():
    z, y, x = np.mgrid[:17, :20, :24]
    smooth = (127 + 120 * np.sin(0.12 * z + 0.5 * y) * np.cos(0.3 * x - 0.1 * z)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(17)
    result = evaluate(isotropic(smooth), 4, methods=["linear"], reconstructions={"shuffled": smooth[order]})
    shuffled, linear = result.methods["shuffled"], result.methods["linear"]
    for view in ("xy", "xz", "yz"):
        assert getattr(shuffled, view).psnr < getattr(linear, view).psnr - 3
        assert getattr(shuffled, view).ssim < getattr(linear, view).ssim
        assert getattr(shuffled, view).fsim < getattr(linear, view).fsim


def test_linear_error_of_a_parabola_is_as_computed_by_hand():
    # Between kept slices at a and b, linear interpolation of z² errs by (z - a)(b - z), the same at every pixel.
    values = quadratic_volume()
    volume = isotropic(values.astype(np.float32))
    thinned = thin(volume, 4)
    span = thinned.stack.normalisation.high - thinned.stack.normalisation.low
    scores = evaluate(volume, 4, methods=["linear"]).methods["linear"]
    error = {d: 0.5 * d * (4 - d) / 144 / span for d in (1, 2, 3)}
    decibels = {d: -20 * math.log10(error[d]) for d in error}
    assert scores.xy.psnr == pytest.approx(np.mean([decibels[1], decibels[2], decibels[3]]), abs=1e-3)
    assert [(one.distance, one.slices) for one in scores.by_distance] == [(1, 6), (2, 3)]
    assert scores.by_distance[0].scores.psnr == pytest.approx(decibels[1], abs=1e-3)
    assert scores.by_distance[1].scores.psnr == pytest.approx(decibels[2], abs=1e-3)
    # Whole planes along z: kept slices are exact, and every plane has the same error.
    mean_square = 3 * sum(error[d] ** 2 for d in (1, 2, 3)) / 13
    assert scores.xz.psnr == pytest.approx(-10 * math.log10(mean_square), abs=1e-3)
    assert scores.yz.psnr == pytest.approx(-10 * math.log10(mean_square), abs=1e-3)


def test_scores_of_a_constant_difference_are_as_computed_by_hand():
    values = np.zeros((9, 12, 14), np.uint8)
    values[::4] = 51  # kept slices are brighter than all others by a fifth of the range
    values[:, 0, 0] = 200  # no slice is flat
    result = evaluate(isotropic(values), 4, methods=["nearest", "linear"])
    error = 0.04 * (12 * 14 - 1) / (12 * 14)  # mean square; one pixel is the same everywhere
    for scores in result.methods.values():
        assert scores.xy.psnr == pytest.approx(-10 * math.log10(error), abs=1e-3)
        # Whole planes: six of nine slices are wrong. The plane with the odd pixel has one column less.
        planes = [-10 * math.log10(0.04 * 6 / 9 * share) for share in [13 / 14, *[1] * 11]]
        assert scores.xz.psnr == pytest.approx(np.mean(planes), abs=1e-3)


def test_numbers_and_form_of_the_json(tmp_path):
    result = evaluate(noise_volume(), 3, methods=["linear", "nearest"])
    result.write_json(tmp_path / "scores.json")
    data = json.loads((tmp_path / "scores.json").read_text())
    assert data["factor"] == 3
    assert data["kept"] == 5
    assert list(data["methods"]) == ["linear", "nearest"]
    linear = data["methods"]["linear"]
    assert {"xy", "xz", "yz", "seconds", "by_distance", "peak_memory_mb"} <= set(linear)
    assert linear["xy"] == result.methods["linear"].xy.as_dict()
    assert linear["seconds"] >= 0
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_infinity_is_standard_json(tmp_path):
    volume = noise_volume()
    result = evaluate(volume, 4, reconstructions={"identity": np.asarray(volume.slices)})
    result.write_json(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=lambda word: pytest.fail(word))["methods"]["identity"]["xy"]["psnr"] == "inf"


def test_table_has_a_line_per_method_with_its_scores():
    result = evaluate(noise_volume(), 4, methods=["nearest", "linear"])
    lines = result.table().splitlines()
    row = next(line for line in lines if line.startswith("linear "))
    assert f"{result.methods['linear'].xy.psnr:.2f}" in row
    assert f"{result.methods['linear'].yz.fsim:.3f}" in row
    assert sum(line.startswith("nearest") for line in lines) == 3  # scores, scores by distance, error bars


def test_emgauss_is_fitted_to_kept_slices_and_scored():
    from napari_emgauss.fitting import preset

    config = preset("fast", prior="linear", iterations_scale=0.002, seed=3)
    seen = []
    result = evaluate(noise_volume(), 4, methods=["emgauss"], config=config, on_progress=seen.append)
    scores = result.methods["emgauss"]
    assert 0 < scores.xy.psnr < 40
    assert scores.about["settings"]["seed"] == 3
    fractions = [one.fraction for one in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert any("warm-up" in one.text for one in seen)


def test_an_exception_of_the_callback_stops():
    def stop(_progress):
        raise FitError("stopped by the user")

    with pytest.raises(FitError, match="stopped by the user"):
        evaluate(noise_volume(), 4, methods=["linear"], on_progress=stop)


def test_an_unknown_method_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean linear"):
        evaluate(noise_volume(), 4, methods=["linaer"])


def test_a_reconstruction_of_another_shape_is_refused():
    with pytest.raises(ConfigError, match="shape"):
        evaluate(noise_volume(), 4, reconstructions={"other": np.zeros((3, 16, 18))})


def test_every_prior_is_a_method():
    from napari_emgauss.priors import prior_names

    assert set(prior_names()) < set(method_names())
    assert method_names()[-1] == "emgauss"


def test_variants_of_methods_are_methods():
    from napari_emgauss.evaluation._methods import check_methods

    assert check_methods(["emgauss:fast", "self:fast", "linear", "linear"]) == ("emgauss:fast", "self:fast", "linear")
    with pytest.raises(ConfigError, match="turbo"):
        check_methods(["emgauss:turbo"])
    with pytest.raises(ConfigError, match="turbo"):
        check_methods(["self:turbo"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("volume", "factor", "method", "expected"),
    [
        ("fib25.ome.tif", 8, "linear", (24.65, 0.602)),
        ("fib25.ome.tif", 10, "nearest", (22.54, 0.526)),
        ("epfl.ome.tif", 5, "linear+blur", (26.94, 0.594)),
        ("epfl.ome.tif", 8, "cubic", (23.92, 0.448)),
    ],
)
def test_baselines_have_the_published_figures(shared_data, volume, factor, method, expected):
    """Figures measured before this project by independent code, on dropped slices of the whole crops."""
    from napari_emgauss.evaluation import psnr, read_volume, ssim
    from napari_emgauss.evaluation._methods import reconstruct

    thinned = thin(read_volume(shared_data(volume)), factor)
    dropped = np.flatnonzero(thinned.dropped)
    images, _ = reconstruct(method, thinned.stack, thinned.z_nm[dropped], None, Progress())
    truth = thinned.truth[dropped]
    decibels = np.mean([psnr(a, b) for a, b in zip(images, truth, strict=True)])
    similarities = [ssim(a, b) for a, b in zip(images, truth, strict=True)]
    assert decibels == pytest.approx(expected[0], abs=0.01)
    assert np.mean(similarities) == pytest.approx(expected[1], abs=0.001)
