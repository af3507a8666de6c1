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


def scored(**by_method):
    """A result from ``(psnr, ssim, fsim)`` of each method; ``_`` stands for ``+``."""
    methods = {name.replace("_", "+"): Scores(*three) for name, three in by_method.items()}
    shown = {name: HiddenScores(name, scores, (), 1.0, {}) for name, scores in methods.items()}
    return ScoreResult("block", (1, 3), (50.0, 150.0), 100.0, 50.0, shown)


def test_verdict_for_emgauss():
    found = scored(linear=(24.0, 0.5, 0.8), linear_blur=(24.6, 0.5, 0.8), emgauss=(25.2, 0.51, 0.79))
    assert found.verdict() == (
        "By PSNR, SSIM and FSIM together, EMGauss is best on this stack (against linear: PSNR +1.2 dB, SSIM +0.010, "
        "FSIM −0.010; against linear+blur: PSNR +0.6 dB, SSIM +0.010, FSIM −0.010); choose EMGauss."
    )
    assert (found.advice.prior, found.advice.preset) == (None, None)


def test_ssim_and_fsim_outweigh_psnr():
    # 16 and 12 dB a unit: 0.1 of SSIM and FSIM each are 2.8 dB, more than the 1.9 dB of PSNR.
    found = scored(linear=(25.0, 0.5, 0.7), emgauss=(23.1, 0.6, 0.8))
    assert found.best == "emgauss"
    assert "against linear: PSNR −1.9 dB, SSIM +0.100, FSIM +0.100" in found.verdict()
    sharper = scored(linear=(18.4, 0.276, 0.712), emgauss=(19.5, 0.309, 0.604))  # noise alone is worth 0.1 of FSIM
    assert sharper.best == "emgauss"
    blurred = scored(linear=(13.8, 0.085, 0.71), emgauss=(15.0, 0.121, 0.54))  # more decibels, and no detail left
    assert blurred.best == "linear"


def test_a_method_that_is_no_fit_comes_with_the_way_to_its_volume():
    found = scored(linear=(24.0, 0.5, 0.8), flow_blur=(25.5, 0.6, 0.8), emgauss=(24.4, 0.5, 0.8))
    assert found.verdict() == (
        "By PSNR, SSIM and FSIM together, flow+blur is best on this stack (against EMGauss: PSNR +1.1 dB, SSIM +0.100, "
        "FSIM +0.000). For a volume to export, fit EMGauss with the prior flow+blur, or with a more patient preset."
    )
    assert found.advice.prior == "flow+blur"
    assert found.as_dict()["advice"] == {"prior": "flow+blur", "preset": None}


def test_a_prior_that_was_followed_is_not_advised_again():
    found = scored(ensemble=(25.5, 0.5, 0.8), emgauss=(24.4, 0.5, 0.8))
    found.methods["emgauss"].about["settings"] = {"prior": "ensemble"}
    assert found.advice.prior is None
    assert found.verdict().endswith("For a volume to export, fit EMGauss with a more patient preset.")


def test_verdict_without_emgauss():
    assert scored(linear=(24.0, 0.5, 0.8), cubic=(23.0, 0.5, 0.8)).verdict() == (
        "By PSNR, SSIM and FSIM together, linear is best of the methods scored on this stack. For a volume to export, "
        "fit EMGauss with the prior linear."
    )


def test_among_presets_the_best_is_advised():
    found = scored(**{"emgauss:fast": (24.0, 0.5, 0.8), "emgauss:best": (25.0, 0.5, 0.8)})
    assert found.advice.preset == "best" and found.verdict().endswith("choose EMGauss with the preset best.")


def test_a_method_that_no_fit_can_follow_is_not_advised(monkeypatch):
    from napari_emgauss.evaluation import Method, _methods, register_method

    monkeypatch.setattr(_methods, "_OWN", dict(_methods._OWN))
    register_method(Method("theirs", lambda *given: None))
    found = scored(linear=(24.0, 0.5, 0.8), theirs=(26.0, 0.5, 0.8), ensemble=(25.0, 0.5, 0.8))
    assert found.verdict().endswith(
        "theirs itself cannot be exported. For a volume to export, fit EMGauss with the prior ensemble."
    )


def test_what_could_not_be_measured_is_not_weighed():
    small = scored(linear=(24.0, None, 0.9), emgauss=(24.5, None, 0.9))  # narrower than SSIM's window
    assert small.verdict().startswith("By PSNR and FSIM together, EMGauss")
    assert scored(linear=(24.0, None, None), emgauss=(23.0, 0.9, None)).verdict().startswith("By PSNR, linear is best")


def test_emgauss_wins_a_tie():
    assert scored(linear=(25.04, 0.5, 0.8), emgauss=(25.0, 0.5, 0.8)).best == "emgauss"
    assert scored(linear=(25.06, 0.5, 0.8), emgauss=(25.0, 0.5, 0.8)).best == "linear"


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
    assert scores.verdict() == (
        "By PSNR, SSIM and FSIM together, EMGauss is best on this stack (against linear: SSIM +0.000, FSIM +0.000); "
        "choose EMGauss."
    )
