import pytest

from napari_emgauss.fit import preset
from napari_emgauss.plugin._estimate import Estimate, estimate, record_fit, uncorrected_seconds


def test_stages_that_are_off_do_not_count() -> None:
    config = preset("paper", iterations_scale=0.5, joint=False)
    assert config.total_iterations(slices=9) == 0.5 * (2000 + 15000)


def test_larger_stacks_take_more() -> None:
    config = preset("default")
    small, large = (estimate(config, (9, side, side), "cpu") for side in (128, 512))
    assert large.seconds > 2 * small.seconds and large.bytes_needed > small.bytes_needed
    assert estimate(config, (9, 128, 128), "xpu").seconds is None


def test_what_a_fit_took_corrects_the_next_estimate() -> None:
    config = preset("default")
    guess = uncorrected_seconds(config, (9, 128, 128), "cuda:0")
    record_fit(guess, 100 + 3 * guess, "cuda:0")
    assert estimate(config, (9, 128, 128), "cuda:0").seconds == pytest.approx(100 + 3 * guess)
    assert uncorrected_seconds(config, (9, 128, 128), "cuda:0") == pytest.approx(guess)


def test_short_fits_teach_nothing() -> None:
    config = preset("default")
    before = estimate(config, (9, 128, 128), "cpu").seconds
    record_fit(1.0, 2.0, "cpu")
    assert estimate(config, (9, 128, 128), "cpu").seconds == before


def test_too_little_memory_is_said() -> None:
    assert Estimate(30.0, 3 << 30).sentence(8 << 30) == "about 30 s, 3.0 GB memory"
    assert "only 2.0 GB are free: choose a smaller region" in Estimate(None, 3 << 30).sentence(2 << 30)
