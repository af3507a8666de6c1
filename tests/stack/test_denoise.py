"""Denoising brings slices nearer to the truth, without being told how noisy they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_emgauss import ProgressUpdate
from napari_emgauss._errors import ConfigError
from napari_emgauss.stack import Stack, denoise, stack_from_array
from napari_emgauss.stack._channels import join_channels

CLOUD = gaussian_filter(np.random.default_rng(12).standard_normal((5, 72, 80)), (1, 3, 3))
CLEAN = np.clip(128 + 50 * np.sign(CLOUD) * np.minimum(np.abs(CLOUD) / CLOUD.std(), 1), 0, 255)


def noisy(sigma: float) -> Stack:
    values = CLEAN + sigma * np.random.default_rng(13).standard_normal(CLEAN.shape)
    return stack_from_array(np.clip(np.rint(values), 0, 255).astype(np.uint8), (40, 4, 4))


def error(stack: Stack) -> float:
    return float(np.sqrt(np.mean((np.asarray(stack.slices[:], dtype=float) - CLEAN) ** 2)))


@pytest.mark.parametrize("method", ["auto", "gaussian", "tv", "nlm"])
def test_less_noise(method: str) -> None:
    stack = noisy(20.0)
    better = denoise(stack, method)  # type: ignore[arg-type]
    assert error(better) < 0.6 * error(stack)
    assert better.slices.dtype == np.uint8
    about = better.metadata["denoising"]
    assert about["noise"] * 255 == pytest.approx(20, rel=0.15)
    assert method in ("auto", about["method"])
    np.testing.assert_array_equal(better.slices[3, 2:9, 4:6], better.slices[3][2:9, 4:6])


def test_strength_follows_the_noise() -> None:
    weak = denoise(noisy(4.0), "gaussian").metadata["denoising"]["strength"]
    strong = denoise(noisy(40.0), "gaussian").metadata["denoising"]["strength"]
    assert weak < strong


def test_clean_slices_stay() -> None:
    stack = noisy(0.0)
    assert error(denoise(stack)) < 4.0


def test_progress() -> None:
    told: list[float | None] = []
    denoise(noisy(10.0), "tv", on_progress=lambda update: told.append(update.fraction))
    assert told[-1] == 1.0
    assert told == sorted(told)


def test_channels_are_parts_of_one_progress() -> None:
    two = join_channels([noisy(10.0), noisy(10.0)])
    told: list[ProgressUpdate] = []
    denoise(two, "gaussian", on_progress=told.append)
    fractions = [update.fraction for update in told]
    assert fractions == pytest.approx(np.arange(1, 13) / 12)  # six strengths a channel
    assert {update.text for update in told[:6]} == {"channel 1"}


def test_refuses() -> None:
    with pytest.raises(ConfigError, match="choose auto"):
        denoise(noisy(1.0), "bm3d")  # type: ignore[arg-type]
