"""Texture: the noise and the contrast that rendered slices lack, the same wherever and whenever they are shown."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_emgauss._errors import ConfigError
from napari_emgauss.cli import main
from napari_emgauss.fitting import preset, run_fit
from napari_emgauss.render import load
from napari_emgauss.stack import Normalisation, Stack, read_stack
from napari_emgauss.volume import ExactModel, LazyVolume, TexturedModel, channel_models, export, with_look
from napari_emgauss.volume._noise import white_noise
from napari_emgauss.volume._texture import Texture
from napari_emgauss.volume._texture_measure import SHARE, measure_texture

from .conftest import AnalyticModel
from .model_contract import VolumeModelContract
from .test_exact import TINY, grey_values, write_stack

SIZE = (96, 128)
UNIT = Normalisation(0.0, 1.0, "float32")


class FlatModel(AnalyticModel):
    """The same grey value everywhere: all that its slices show beside it is noise."""

    def __init__(self, size: tuple[int, int] = SIZE, slices: int = 5) -> None:
        super().__init__((slices, *size))

    def value(self, z_nm: Any, y: Any, x: Any) -> Any:
        return 0.5 + 0 * (np.asarray(z_nm) + y + x)


def coarse_noise(count: int, size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    """0.5 and noise of standard deviation 0.1 whose power falls with frequency as a Gaussian of 0.6 pixels does."""
    white = np.random.default_rng(7).standard_normal((count, *size))
    noise = gaussian_filter(white, (0, 0.6, 0.6), mode="wrap")
    return (0.5 + 0.1 * noise / noise.std()).astype(np.float32)


def textured(model: Any, slices: NDArray[Any], seed: int = 0) -> TexturedModel:
    return TexturedModel(model, measure_texture(model, slices, UNIT), UNIT, seed=seed)


def power(images: NDArray[Any], low: float, high: float) -> float:
    """Mean power between two frequencies, cycles a pixel."""
    *_, height, width = images.shape
    found = np.abs(np.fft.fft2(images - images.mean(axis=(1, 2), keepdims=True))) ** 2
    radii = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    return float(found[:, (radii >= low) & (radii < high)].mean() / (height * width))


def likeness(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_noise_is_a_function_of_its_place() -> None:
    whole = white_noise(3, -2, 0, (-5, 200), (-9, 150))
    np.testing.assert_array_equal(white_noise(3, -2, 0, (40, 43), (0, 7)), whole[45:48, 9:16])
    assert abs(whole.mean()) < 0.02 and abs(whole.std() - 1) < 0.02
    assert abs(likeness(whole[1:], whole[:-1])) < 0.02 and abs(likeness(whole[:, 1:], whole[:, :-1])) < 0.02
    for seed, plane, channel in ((4, -2, 0), (3, -1, 0), (3, -2, 1)):
        assert abs(likeness(whole, white_noise(seed, plane, channel, (-5, 200), (-9, 150)))) < 0.02
    # The numbers of every release: a volume that was exported once can be made again.
    np.testing.assert_allclose(
        white_noise(0, 0, 0, (0, 1), (0, 3))[0], [0.12873565, -0.58186082, -0.77281033], atol=1e-6
    )


def test_a_known_spectrum_is_reproduced_and_the_mean_stays() -> None:
    model, own = FlatModel(), coarse_noise(5)
    mid_gap = textured(model, own).render(model.z_nm[:-1] + 20)
    for low, high in ((1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 3 / 8), (3 / 8, 1 / 2)):
        assert power(mid_gap, low, high) / power(own, low, high) == pytest.approx(SHARE, abs=0.1)
    assert power(mid_gap, 0.001, 1 / 32) < 0.2 * power(own, 0.001, 1 / 32)  # coarser than what is noise
    assert mid_gap.mean() == pytest.approx(0.5, abs=0.005)


def test_contrast_comes_back_before_noise_does() -> None:
    # The model shows two fifths less of the stack's waves of 12 pixels: they are raised, and no noise is added there.
    size, x = (96, 96), np.arange(96) + 0.5

    class Waves(FlatModel):
        def value(self, z_nm: Any, y: Any, x: Any) -> Any:
            return 0.5 + 0.06 * np.sin(2 * np.pi * x / 12) + 0 * (np.asarray(z_nm) + y)

    own = np.broadcast_to(0.5 + 0.1 * np.sin(2 * np.pi * x / 12), (5, *size)).astype(np.float32)
    shown = textured(Waves(size), own).render(1020.0)
    wave = 2 * np.mean((shown - 0.5) * np.sin(2 * np.pi * x / 12))
    assert wave == pytest.approx(0.1, rel=0.1)
    assert np.std(shown - 0.5 - wave * np.sin(2 * np.pi * x / 12)) < 0.02


def test_noise_follows_the_grey_value() -> None:
    class Halves(FlatModel):
        def value(self, z_nm: Any, y: Any, x: Any) -> Any:
            return 0.5 + 0.3 * np.tanh((np.asarray(x) - 64) / 8) + 0 * (np.asarray(z_nm) + y)

    noise = np.random.default_rng(1).standard_normal((5, *SIZE)) * np.where(np.arange(128) < 64, 0.02, 0.1)
    smooth = Halves().truth([1000.0])[0]
    shown = textured(Halves(), (smooth + noise).astype(np.float32)).render(1020.0) - smooth
    dark, bright = shown[:, 8:44].std(), shown[:, 84:120].std()
    assert dark == pytest.approx(0.02, rel=0.3) and bright == pytest.approx(0.1, rel=0.15)


def test_a_crop_is_that_part_of_the_whole_and_a_batch_its_depths() -> None:
    # Structure, so that surroundings matter; compared to the last bit.
    class Sloped(FlatModel):
        def value(self, z_nm: Any, y: Any, x: Any) -> Any:
            return 0.5 + 0.1 * np.sin(np.asarray(y) / 3) * np.cos(np.asarray(x) / 5) + 0 * np.asarray(z_nm)

    model = textured(Sloped(), coarse_noise(5))
    depths = [1000.0, 1004.0, 1021.5, 1133.0]
    whole = model.render(depths)
    for y0, y1, x0, x1 in ((0, 96, 0, 128), (40, 41, 0, 128), (3, 90, 100, 128), (50, 66, 17, 18)):
        part = model.render(depths, region=(y0, y1, x0, x1))
        np.testing.assert_allclose(part, whole[:, y0:y1, x0:x1], rtol=0, atol=2e-7)
    np.testing.assert_array_equal(model.render(1021.5), whole[2])
    volume = LazyVolume(model, depths)
    np.testing.assert_allclose(np.asarray(volume[:, 33, :]), whole[:, 33], rtol=0, atol=2e-7)
    np.testing.assert_allclose(np.asarray(volume[2, 5:9, 7:20]), whole[2, 5:9, 7:20], rtol=0, atol=2e-7)


def test_large_slices_are_made_in_bands_that_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    model = textured(FlatModel(), coarse_noise(5))
    whole = model.render(1020.0)
    monkeypatch.setattr("napari_emgauss.volume._textured._PIXELS_AT_ONCE", 128 * 10)
    np.testing.assert_allclose(model.render(1020.0), whole, rtol=0, atol=2e-7)


def test_coarse_cells_show_the_mean_of_the_noise_under_them() -> None:
    model = textured(FlatModel(), coarse_noise(5))
    whole, halves = model.render(1020.0), model.render(1020.0, shape=(48, 64))
    np.testing.assert_allclose(halves, whole.reshape(48, 2, 64, 2).mean(axis=(1, 3)), atol=1e-6)
    assert model.render(1020.0, shape=(12, 16)).std() < 1e-6  # cells of 8 pixels: the noise has averaged out


def test_slices_do_not_repeat_and_depths_between_them_blend() -> None:
    model = textured(FlatModel(), coarse_noise(5))  # pixels of 4 nm, so planes of noise are 4 nm apart
    planes = model.render(np.arange(1004.0, 1036.0, 4.0)) - 0.5
    near = [likeness(one, other) for one, other in pairwise(planes)]
    assert np.abs(near).max() < 0.1
    low, middle, high = model.render([1016.0, 1018.0, 1020.0]) - 0.5
    assert likeness(low, middle) == pytest.approx(np.sqrt(0.5), abs=0.06)
    assert middle.std() == pytest.approx((low.std() + high.std()) / 2, rel=0.08)  # the variance is kept
    np.testing.assert_array_equal(model.render(1016.0 + 1e-9), model.render(1016.0))


def test_the_seed_decides_the_noise() -> None:
    own = coarse_noise(5)
    one, same, other = (textured(FlatModel(), own, seed).render(1020.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert abs(likeness(one, other)) < 0.1


def test_slices_without_noise_get_none() -> None:
    flat = np.full((5, *SIZE), 0.5, np.float32)
    np.testing.assert_allclose(textured(FlatModel(), flat).render(1020.0), 0.5, atol=1e-6)
    empty = np.full((5, *SIZE), np.nan, np.float32)
    np.testing.assert_allclose(textured(FlatModel(), empty).render(1020.0), 0.5, atol=1e-6)


def test_observed_slices_stay_and_damaged_pixels_are_textured() -> None:
    model, own = FlatModel(), coarse_noise(5)
    hole = np.zeros(SIZE, bool)
    hole[20:60, 30:90] = True
    rough = textured(model, own)
    shown = ExactModel(rough, own, damage={2: hole})
    np.testing.assert_array_equal(shown.render(model.z_nm[[0, 1, 3, 4]]), own[[0, 1, 3, 4]])
    third = shown.render(float(model.z_nm[2]))
    np.testing.assert_array_equal(third[~hole], own[2][~hole])
    np.testing.assert_array_equal(third[hole], rough.render(float(model.z_nm[2]))[hole])
    assert third[hole].std() == pytest.approx(0.1, rel=0.2)
    assert shown.traits.look == "textured" and shown.provenance["look"] == "textured"


def test_a_texture_survives_json_and_nonsense_is_none() -> None:
    (texture,) = measure_texture(FlatModel(), coarse_noise(5), UNIT)
    told = json.loads(json.dumps(texture.to_json()))
    assert Texture.from_json(told) == texture and len(json.dumps(told)) < 6000
    # 0.1 in all, of which a few per cent are coarser than what is noise.
    assert 0.08 < texture.noise_deviation < 0.1
    for nonsense in (
        None,
        [],
        {},
        {**told, "noise": [[1.0]]},
        {**told, "greys": "x"},
        {**told, "distances_nm": told["distances_nm"][::-1]},
        {**told, "contrast": [[float("nan")] * len(told["frequencies"])] * len(told["distances_nm"])},
        {key: value for key, value in told.items() if key != "edges"},
    ):
        assert Texture.from_json(nonsense) is None


def test_channels_have_their_own_texture_shown_together_or_alone(tmp_path: Path) -> None:
    values = np.stack([grey_values(1, (5, 40, 44)), grey_values(2, (5, 40, 44)) // 2], axis=1)
    stack = read_stack(write_stack(tmp_path / "stack.ome.tif", values))
    model = run_fit(stack, TINY)
    assert len(model.provenance["texture"]) == 2
    both = with_look(model, "textured", stack).render([20.0, 40.0])
    np.testing.assert_array_equal(both[1], values[1])
    for channel, one in enumerate(channel_models(model)):
        np.testing.assert_array_equal(with_look(one, "textured", stack).render([20.0, 40.0]), both[:, channel])


def test_evened_out_stacks_are_textured_in_their_original_intensity(tmp_path: Path) -> None:
    from napari_emgauss.stack import Corrections

    own = grey_values(3, (6, 48, 52))
    own = np.stack([own[k] // (1 + k % 2) for k in range(6)])
    stack = Corrections(even_out="linear").apply(read_stack(write_stack(tmp_path / "stack.ome.tif", own)))
    model = run_fit(stack, TINY)
    with pytest.raises(ConfigError, match="differ in brightness"):
        with_look(model, "textured", stack)
    shown = with_look(model, "textured", stack, original_intensity=True)
    np.testing.assert_array_equal(shown.render(model.z_nm), own)
    stored = shown.render(60.0)
    del model.provenance["texture"]
    measured = with_look(model, "textured", stack, original_intensity=True).render(60.0)
    np.testing.assert_array_equal(stored, measured)  # a fit measures what is measured later


def test_a_fit_keeps_its_texture_and_an_older_model_is_measured(tmp_path: Path) -> None:
    file = write_stack(tmp_path / "stack.ome.tif", grey_values(0, (7, 40, 44)))
    stack = read_stack(file)
    run_fit(stack, TINY).save(tmp_path / "m.safetensors")
    model = load(tmp_path / "m.safetensors", device="cpu")
    volume = tifffile.imread(export(model, tmp_path / "a.ome.tif", look="textured"))
    np.testing.assert_array_equal(volume[::8], grey_values(0, (7, 40, 44)))
    smooth = model.render(60.0)
    assert volume[12].astype(float).std() > smooth.astype(float).std()
    for stored in (None, "nonsense", [{}]):
        model.provenance["texture"] = stored
        again = tifffile.imread(export(model, tmp_path / "b.ome.tif", look="textured", overwrite=True))
        np.testing.assert_array_equal(again, volume)
    other = tifffile.imread(export(model, tmp_path / "c.ome.tif", look="textured", texture_seed=1))
    np.testing.assert_array_equal(other[::8], volume[::8])
    assert (other[12] != volume[12]).mean() > 0.5
    with tifffile.TiffFile(tmp_path / "c.ome.tif") as tif:
        assert tif.ome_metadata is not None and "textured" in tif.ome_metadata and "texture_seed" in tif.ome_metadata


def test_the_command_line_says_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_stack(tmp_path / "stack.ome.tif", grey_values(0, (5, 40, 44)))
    model = run_fit(read_stack(file), preset("fast", prior="linear", iterations_scale=0.002))
    model.save(tmp_path / "m.safetensors")
    assert main(["info", "m.safetensors"]) == 0
    told = capsys.readouterr().out
    assert "--look textured" in told and "by_grey" not in told
    command = ["export", "m.safetensors", "--look", "textured", "-q"]
    assert main([*command, "-o", "a.ome.tif", "--texture-seed", "5"]) == 0
    assert "5 of 5 observed slices are in the volume as they are" in capsys.readouterr().err
    np.testing.assert_array_equal(
        tifffile.imread("a.ome.tif"), with_look(model, "textured", texture_seed=5).render(np.arange(0.0, 161.0, 5.0))
    )
    file.rename("moved.ome.tif")
    assert main([*command, "-o", "b.ome.tif"]) == 2
    assert "give it with --stack FILE" in capsys.readouterr().err
    assert main(["export", "m.safetensors", "-o", "b.ome.tif", "--texture-seed", "5"]) == 2
    assert "--look textured" in capsys.readouterr().err
    assert not (tmp_path / "b.ome.tif").exists()


class TestTexturedModel(VolumeModelContract):
    @pytest.fixture
    def model(self) -> Any:
        base = AnalyticModel((3, 20, 27), "uint8")
        own = np.clip(base.truth(base.z_nm) + grey_values(1, (3, 20, 27)) // 8, 0, 255)
        texture = measure_texture(base, own, Normalisation(0.0, 255.0, "uint8"))
        return TexturedModel(base, texture, Normalisation(0.0, 255.0, "uint8"))


def test_a_stack_in_memory_is_enough() -> None:
    values = grey_values(0, (5, 40, 44))
    from napari_emgauss.stack import stack_from_array

    stack: Stack = stack_from_array(values, (40.0, 5.0, 5.0))
    shown = with_look(run_fit(stack, TINY), "textured", stack)
    np.testing.assert_array_equal(shown.render(stack.z_nm), values)
    for look, seed, message in (("exact", 3, "only for the textured look"), ("textured", -1, "whole number from 0")):
        with pytest.raises(ConfigError, match=message):
            with_look(run_fit(stack, TINY), look, stack, texture_seed=seed)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"no look 'rough': choose one of smooth, exact, textured"):
        with_look(shown, "rough")  # type: ignore[arg-type]
