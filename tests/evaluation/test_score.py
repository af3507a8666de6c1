from __future__ import annotations

import json
import math

import numpy as np
import pytest

from napari_emgauss import ConfigError
from napari_emgauss.evaluation import ScoreResult, Scores, score
from napari_emgauss.evaluation._score import HiddenScores
from napari_emgauss.stack import stack_from_array


def ramp_stack(count=8, z_nm=None):
    """Grey values linear in depth: linear interpolation is exact, nearest is not."""
    z = 40.0 * np.arange(count) if z_nm is None else np.asarray(z_nm, float)
    y, x = np.mgrid[:13, :17]
    values = np.clip(20 + 0.4 * z[:, None, None] + 3 * y + 2 * x, 0, 255).astype(np.float32)
    return stack_from_array(values, z_nm=z, pixel_size_nm=4.0, name="ramp")


def hidden(method, psnr, ssim=0.5):
    return HiddenScores(method, Scores(psnr, ssim, 0.8), (), 1.0, {})


def result(**decibels):
    methods = {name.replace("_", "+"): hidden(name.replace("_", "+"), value) for name, value in decibels.items()}
    return ScoreResult("block", (1, 3), (50.0, 150.0), 100.0, 50.0, methods)


def test_every_second_slice_between_the_ends_is_hidden():
    scores = score(ramp_stack(8), methods=["linear"])
    assert scores.hidden == (1, 3, 5)  # slice 7 has no slice beyond it to interpolate from
    assert scores.hidden_z_nm == (40, 120, 200)
    assert (scores.gap_nm, scores.real_gap_nm) == (80, 40)
    assert score(ramp_stack(9), methods=["linear"]).hidden == (1, 3, 5, 7)


def test_linear_is_exact_on_a_ramp_and_nearest_is_not():
    scores = score(ramp_stack(9), methods=["nearest", "linear"])
    assert scores.methods["linear"].mean.psnr > 100
    assert scores.methods["nearest"].mean.psnr < 30
    assert scores.best == "linear"
    assert len(scores.methods["linear"].slices) == 4


def test_true_depths_are_used_where_slices_are_uneven():
    uneven = [0, 10, 80, 200, 210, 300, 380, 390, 470]
    assert score(ramp_stack(9, uneven), methods=["linear"]).methods["linear"].mean.psnr > 100


def test_methods_never_see_the_hidden_slices():
    values = np.random.default_rng(0).integers(0, 255, (7, 12, 14)).astype(np.uint16)
    values[1::2] += 30_000
    stack = stack_from_array(values, (40, 4, 4))
    linear = score(stack, methods=["linear"]).methods["linear"].mean
    # Limits from shown slices only: hidden ones lie more than a hundred ranges above.
    assert linear.psnr < -40


def test_too_short_a_stack_is_refused():
    with pytest.raises(ConfigError, match="at least 5"):
        score(ramp_stack(4), methods=["linear"])


def test_verdict_for_emgauss():
    verdict = result(linear=24.0, linear_blur=24.6, emgauss=25.2).verdict()
    assert verdict == (
        "EMGauss +1.2 dB over linear and +0.6 dB over linear+blur, the next best on this stack; choose EMGauss."
    )
    assert result(linear=24.0, emgauss=25.2).verdict() == "EMGauss +1.2 dB over linear on this stack; choose EMGauss."


def test_verdict_against_emgauss_says_so():
    verdict = result(linear=24.0, ensemble=25.5, emgauss=24.4).verdict()
    assert verdict.startswith("EMGauss +0.4 dB over linear on this stack, but ensemble is better by 1.1 dB")
    assert "choose ensemble" in verdict


def test_verdict_without_emgauss():
    assert result(linear=24.0, cubic=23.0).verdict() == (
        "Linear is best of the methods scored on this stack; choose linear."
    )
    assert "+2.0 dB over linear" in result(linear=24.0, ensemble=26.0).verdict()


def test_within_a_twentieth_of_a_decibel_ssim_decides():
    close = ScoreResult(
        "block",
        (1,),
        (5.0,),
        10.0,
        5.0,
        {"linear": hidden("linear", 25.04, 0.5), "emgauss": hidden("emgauss", 25.0, 0.6)},
    )
    assert close.best == "emgauss"


def test_table_and_json_say_that_the_gap_was_doubled(tmp_path):
    scores = result(linear=24.0, emgauss=25.2)
    assert "100 nm apart here instead of 50 nm" in scores.table()
    assert "+1.20" in scores.table()
    scores.write_json(tmp_path / "s.json")
    data = json.loads((tmp_path / "s.json").read_text())
    assert data["best"] == "emgauss"
    assert data["caution"].startswith("A harder task")
    assert data["methods"]["linear"]["psnr"] == 24.0


def test_progress_ends_at_one():
    seen = []
    score(ramp_stack(7), methods=["nearest", "linear"], on_progress=seen.append)
    assert seen[-1].fraction == 1
    assert {one.method for one in seen} >= {"nearest", "linear"}
    assert [one.fraction for one in seen] == sorted(one.fraction for one in seen)


def test_exact_reconstruction_gives_no_infinite_gain():
    scores = result(linear=24.0, emgauss=math.inf)
    assert scores.verdict() == "EMGauss on this stack; choose EMGauss."
