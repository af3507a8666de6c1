import pytest

from napari_emgauss.plugin.widgets._log_axis import log_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.004, 0.3, [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]),
        (0.021, 0.034, [0.025, 0.03]),
        (1e-6, 1e-1, [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        (1e-8, 1.0, [1e-8, 1e-6, 1e-4, 1e-2, 1.0]),
        (0.0, 1.0, []),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_short_axes_have_fewer() -> None:
    for most in (2, 3, 4):
        assert 1 <= len(log_ticks(0.01, 0.9, most)) <= most
