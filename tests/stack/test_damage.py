"""Damage is found, named and never invented."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_emgauss import ProgressUpdate
from napari_emgauss.stack import _damage, find_damage, stack_from_array, suggested_skip


def tissue(count: int = 24) -> NDArray[np.float64]:
    """Smooth random structure that changes slowly along z, with noise."""
    rng = np.random.default_rng(6)
    cloud = gaussian_filter(rng.standard_normal((count, 70, 80)), (2.5, 2, 2))
    cloud = 128 + 35 * cloud / cloud.std() + 4 * rng.standard_normal(cloud.shape)
    return np.clip(cloud, 5, 250)


def reports(values: NDArray[np.float64], dtype: str = "uint8") -> list[tuple[int, str, str]]:
    stack = stack_from_array(values.astype(dtype), (40, 4, 4), allow_damaged=True)
    return [(r.index, r.state, r.reasons[0]) for r in find_damage(stack) if r.state != "good"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_good_stack_has_no_reports(dtype: str) -> None:
    assert reports(tissue(), dtype) == []


def test_drift_is_no_damage() -> None:
    drift = np.linspace(0.8, 1.2, 24)[:, None, None]
    assert reports(np.clip(tissue() * drift, 0, 255)) == []


@pytest.mark.parametrize(
    ("damage", "state", "reason"),
    [
        (lambda v, k: np.zeros_like(v[k]), "bad", "is black: 100% of its pixels"),
        (lambda v, k: np.full_like(v[k], 255), "bad", "is white: 100% of its pixels"),
        (lambda v, k: np.full_like(v[k], 99), "bad", "is empty: 100% of its pixels"),
        (lambda v, k: v[k - 1], "bad", "is a copy of slice 9"),
        (lambda v, k: gaussian_filter(v[k], 4), "bad", "is blurred: "),
        (lambda v, k: v[k][::-1, ::-1], "bad", "is unlike its neighbours: correlation"),
        (lambda v, k: np.clip(v[k] * 1.6 + 20, 0, 255), "suspect", "is partly saturated: "),
        (lambda v, k: v[k] * 0.5, "suspect", "is darker than the others"),
        (lambda v, k: np.where(np.arange(80) < 50, 0, v[k]), "bad", "is partly empty: 6"),
    ],
)
def test_each_kind_of_damage(damage: object, state: str, reason: str) -> None:
    values = tissue()
    values[10] = damage(values, 10)  # type: ignore[operator]
    found = reports(values)
    assert [index for index, _, _ in found] == [10]
    assert found[0][1] == state
    everything = find_damage(stack_from_array(values.astype("uint8"), (40, 4, 4), allow_damaged=True))[10].reasons
    assert any(text.startswith(reason) for text in everything), everything


def looks_with_sharpness(log_sharpness: float) -> _damage._Looks:
    """24 slices alike but for sharpness: -0.14, 0, 0.14, ... (spread 1.4826 x 0.14 = 0.2), and slice 12's own."""
    looks = _damage._Looks(24)
    for values, constant in (
        (looks.flat, 0.01),
        (looks.saturated, 0.0),
        (looks.brightness, 0.5),
        (looks.contrast, 0.3),
        (looks.to_next, 0.9),
    ):
        values[:] = constant
    spread = 0.2 / 1.4826
    looks.sharpness[:] = np.exp(np.tile([-spread, 0.0, spread], 8))
    looks.sharpness[12] = np.exp(log_sharpness)
    return looks


@pytest.mark.parametrize(
    ("log_sharpness", "state"),
    [(-0.2 * 5.5, "good"), (-0.2 * 6.5, "suspect"), (-0.2 * 11.5, "suspect"), (-0.2 * 12.5, "bad"), (2.0, "good")],
)
def test_six_spreads_are_suspect_and_twelve_are_bad(
    log_sharpness: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = looks_with_sharpness(log_sharpness)
    monkeypatch.setattr(_damage, "_look", lambda stack, progress: looks)
    found = find_damage(stack_from_array(tissue().astype("uint8"), (40, 4, 4)))
    assert found[12].state == state
    assert {report.state for report in found if report.index != 12} == {"good"}


def test_nan() -> None:
    values = tissue()
    values[10, 3, 4] = np.nan
    assert reports(values, "float32") == [(10, "bad", "holds NaN or infinite values")]


def test_suggestion_lists_the_bad_ones() -> None:
    values = tissue()
    values[4], values[15], values[20] = 0, values[14], values[20] * 0.5
    found = find_damage(stack_from_array(values.astype("uint8"), (40, 4, 4), allow_damaged=True))
    assert suggested_skip(found) == [4, 15]
    assert found[20].state == "suspect"
    assert found[4].z_nm == 160


def test_progress_may_stop_it() -> None:
    told: list[float | None] = []
    find_damage(
        stack_from_array(tissue().astype("uint8"), (40, 4, 4)), on_progress=lambda update: told.append(update.fraction)
    )
    assert told[-1] == 1.0
    assert len(told) == 24

    def stop(update: ProgressUpdate) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_damage(stack_from_array(tissue().astype("uint8"), (40, 4, 4)), on_progress=stop)


def test_three_slices_are_enough() -> None:
    values = tissue()[:3]
    assert reports(values) == []
