from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from napari_emgauss.evaluation import evaluate, ring_sums, score
from napari_emgauss.evaluation._resolution import ONE_SEVENTH, half_bit, resolution_of, resolution_text
from napari_emgauss.stack import stack_from_array


def noise(shape=(128, 128), seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_equal_images_agree_in_every_ring_down_to_the_pixels():
    image = noise((64, 96))
    found = ring_sums(image, image, (4.0, 4.0)).resolution()
    assert found.correlation == pytest.approx([1.0] * len(found.correlation))
    assert found.nm == {"one_seventh": 8.0, "half_bit": 8.0}
    assert found.text() == "≤ 8.0"
    assert found.frequency_per_nm[-1] == pytest.approx(1 / 8)
    assert found.frequency_per_nm[0] == pytest.approx(1 / (96 * 4))


@pytest.mark.parametrize("ratio", [4.0, 1.0, 0.25])
def test_two_noisy_images_of_one_signal_agree_by_their_signal_to_noise_ratio(ratio):
    signal = np.sqrt(ratio) * noise(seed=1)
    sums = ring_sums(signal + noise(seed=2), signal + noise(seed=3), (1.0, 1.0))
    outer = np.array(sums.resolution().correlation)[16:]  # rings with many pixels
    assert outer.mean() == pytest.approx(ratio / (1 + ratio), abs=0.03)


def test_the_number_is_where_the_signal_ends():
    # Everything coarser than 1/16 of a pixel is shared, nothing finer: 10 nm pixels, so 160 nm.
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    low, high = frequency <= 1 / 16, frequency > 1 / 16

    def mixed(seed):
        return np.fft.ifft2(np.fft.fft2(noise((256, 256), 9)) * low + np.fft.fft2(noise((256, 256), seed)) * high).real

    found = ring_sums(mixed(1), mixed(2), (10.0, 10.0)).resolution()
    assert found.nm["one_seventh"] == pytest.approx(160, rel=0.1)
    assert found.nm["half_bit"] == pytest.approx(160, rel=0.1)


def test_unlike_images_have_no_resolution():
    assert resolution_of([ring_sums(noise(seed=1), -noise(seed=1), (4.0, 4.0))]).nm["one_seventh"] is None
    assert resolution_text(None, 8.0) == "-"


def test_blur_along_one_axis_is_seen_along_that_axis_alone():
    image = noise((160, 160))
    blurred = gaussian_filter1d(image, 4.0, axis=0) + 0.05 * noise((160, 160), 5)
    along_z = ring_sums(image, blurred, (5.0, 5.0), "rows").resolution()
    in_plane = ring_sums(image, blurred, (5.0, 5.0), "columns").resolution()
    assert along_z.nm["one_seventh"] > 2 * in_plane.nm["one_seventh"]


def test_more_planes_make_a_smoother_curve_not_another_one():
    signal = [noise(seed=k) for k in range(6)]
    pairs = [ring_sums(one + noise(seed=50 + k), one + noise(seed=90 + k), (1, 1)) for k, one in enumerate(signal)]
    together = np.array(resolution_of(pairs).correlation)[10:]
    assert together.mean() == pytest.approx(0.5, abs=0.02)
    assert together.std() < np.array(pairs[0].resolution().correlation)[10:].std()


def test_half_bit_is_the_published_curve():
    # van Heel and Schatz 2005, eq. 17: 0.2071 / 1.2071 for many pixels, and (0.2071 + 0.19102) / (1.2071 + 0.09102).
    assert half_bit(np.array([1e12]))[0] == pytest.approx(0.17157, abs=1e-4)
    assert half_bit(np.array([100.0]))[0] == pytest.approx(0.39812 / 1.29812)
    assert half_bit(np.array([0.0]))[0] == pytest.approx(1)
    assert pytest.approx(0.142857, abs=1e-6) == ONE_SEVENTH


def test_small_images_are_unknown():
    assert ring_sums(noise((15, 40)), noise((15, 40)), (1, 1)) is None
    assert resolution_of([None]) is None


def test_an_evaluation_tells_resolution_by_distance_and_direction():
    values = np.random.default_rng(0).integers(0, 256, (25, 32, 40), dtype=np.uint8)
    volume = stack_from_array(values, (4, 4, 4), allow_isotropic=True, name="noise")
    exact = np.asarray(values)
    told = evaluate(volume, 4, methods=["linear"], reconstructions={"exact": exact}).as_dict()["methods"]
    assert told["exact"]["resolution"]["along_z"]["nm"] == {"one_seventh": 8.0, "half_bit": 8.0}
    assert told["exact"]["by_distance"][0]["resolution"]["nm"]["half_bit"] == 8.0
    assert [one["distance"] for one in told["linear"]["by_distance"]] == [1, 2]
    assert told["linear"]["metrics"]["xy"]["psnr"]["mean"] == told["linear"]["xy"]["psnr"]
    assert (
        told["linear"]["metrics"]["volume"]["psnr_3d"]["mean"]
        > told["linear"]["metrics"]["volume"]["psnr_3d_dropped"]["mean"]
    )


def test_a_score_tells_resolution_and_intervals_in_its_details():
    values = np.random.default_rng(0).integers(0, 256, (9, 24, 32), dtype=np.uint8)
    found = score(stack_from_array(values, (40, 4, 4), name="noise"), methods=["nearest", "linear"])
    told = found.as_dict()["methods"]["linear"]
    assert told["metrics"]["xy"]["haarpsi"]["count"] == 4
    assert set(told["resolution"]["xy"]["nm"]) == {"one_seventh", "half_bit"}
    assert "HaarPSI" in found.details()
    assert "resolution in plane (nm)" in found.details()
