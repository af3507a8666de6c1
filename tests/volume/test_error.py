"""Error bars of a model, however it is shown, and their export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_emgauss.cli import main
from napari_emgauss.fitting import FitConfig, preset, run_fit
from napari_emgauss.render import EmgaussModel, load
from napari_emgauss.stack import Stack, correct_intensity, read_stack, stack_from_array
from napari_emgauss.tiles import TiledModel, TileSize, fit_tiles
from napari_emgauss.volume import as_shown, export, traits_of

TINY = preset("fast", prior="linear", iterations_scale=0.002)


def grey_values(seed: int = 0) -> np.ndarray:
    z, y, x = np.mgrid[:7, :40, :44]
    smooth = 120 + 60 * np.sin(0.4 * z + 0.3 * x) * np.cos(0.3 * y)
    return (smooth + np.random.default_rng(seed).integers(0, 20, smooth.shape)).astype(np.uint8)


def stack_of(values: np.ndarray) -> Stack:
    return stack_from_array(values, (40.0, 5.0, 5.0), name="waves")


@pytest.fixture(scope="module")
def model() -> EmgaussModel:
    return run_fit(stack_of(grey_values()), TINY)


def error_of(model: Any) -> Any:
    error = traits_of(model).error
    assert error is not None
    return error


def test_a_fit_knows_its_error_at_every_depth(model: EmgaussModel) -> None:
    sigma = error_of(model).render([60.0, 50.0, 45.0])
    assert sigma.shape == (3, 40, 44) and sigma.dtype == np.float32
    assert np.isfinite(sigma).all() and (sigma > 0).all()
    assert sigma[0].mean() > sigma[1].mean() > sigma[2].mean(), "farther from a slice there is more to guess"


def test_a_fit_that_goes_on_from_a_checkpoint_has_the_same(tmp_path: Path) -> None:
    from napari_emgauss.fitting import fit

    stack, kept = stack_of(grey_values()), tmp_path / "c.safetensors"
    whole = run_fit(stack, TINY)
    updates = fit(stack, TINY, checkpoint=kept)
    for update in updates:
        if update.stage != "prior":
            break
    updates.close()
    *_, last = fit(stack, resume=kept)
    assert last.model is not None
    depths = [60.0, 45.0]
    np.testing.assert_array_equal(error_of(last.model).render(depths), error_of(whole).render(depths))


def test_export_writes_sigma_on_the_grid_of_the_volume(model: EmgaussModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m.safetensors")
    volume, error = tmp_path / "v.ome.tif", tmp_path / "e.ome.tif"
    assert main(["export", str(tmp_path / "m.safetensors"), "-q", "-o", str(volume), "--error", str(error)]) == 0
    written = tifffile.imread(error)
    assert written.dtype == np.float32 and written.shape == tifffile.imread(volume).shape
    depths = np.linspace(0, 240, len(written))
    np.testing.assert_array_equal(written, load(tmp_path / "m.safetensors", device="cpu").error.render(depths))
    assert read_stack(error, allow_isotropic=True).pixel_size_nm == (5.0, 5.0)


def test_a_model_without_error_bars_says_so_before_work(
    model: EmgaussModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = model.snapshot()
    old.error_bars = None
    old.save(tmp_path / "m.safetensors")
    arguments = ["export", str(tmp_path / "m.safetensors"), "-q", "-o", str(tmp_path / "v.tif")]
    assert main([*arguments, "--error", str(tmp_path / "e.tif")]) == 2
    told = capsys.readouterr().err
    assert "holds no error bars" in told and "fit the stack again" in told and told.count("\n") == 1
    assert not (tmp_path / "v.tif").exists()


@pytest.mark.parametrize("target", ["v.tif", "e.unknown"])
def test_a_place_that_cannot_hold_them_is_refused_before_work(
    model: EmgaussModel, tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save(tmp_path / "m.safetensors")
    arguments = ["export", str(tmp_path / "m.safetensors"), "-q", "-o", str(tmp_path / "v.tif")]
    assert main([*arguments, "--error", str(tmp_path / target)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "v.tif").exists()


def test_own_slices_have_no_error(model: EmgaussModel) -> None:
    stack = stack_of(grey_values())
    sigma = error_of(as_shown(model, look="exact", stack=stack)).render([40.0, 60.0])
    assert (sigma[0] == 0).all()
    np.testing.assert_array_equal(sigma[1], error_of(model).render(60.0))


def test_damaged_pixels_of_own_slices_keep_theirs() -> None:
    damage = np.zeros((7, 40, 44), np.uint8)
    damage[2, 10:20, 5:9] = 1
    stack = replace(stack_of(grey_values()), damage=damage)
    model = run_fit(stack, TINY)
    sigma = error_of(as_shown(model, look="exact", stack=stack)).render(80.0)
    np.testing.assert_array_equal(sigma > 0, damage[2] > 0)


def test_channels_have_their_own_and_can_be_had_alone() -> None:
    noisy = grey_values(1).astype(int) + np.random.default_rng(5).integers(-45, 45, (7, 40, 44))
    values = np.stack([grey_values(0), np.clip(noisy, 0, 255).astype(np.uint8)], axis=1)
    model = run_fit(stack_of(values), TINY)
    both = error_of(model).render([60.0, 50.0])
    assert both.shape == (2, 2, 40, 44)
    assert both[0, 1].mean() > 2 * both[0, 0].mean()
    alone = error_of(as_shown(model, channel=1))
    assert alone.channels == 1
    np.testing.assert_array_equal(alone.render([60.0, 50.0]), both[:, 1])
    assert alone.half_width(0.9) == error_of(model).half_width(0.9, 1)


def test_sigma_goes_back_to_the_contrast_of_the_file() -> None:
    values = grey_values()
    values[3] = 100 + values[3] // 4
    stack = correct_intensity(stack_of(values))
    model = run_fit(stack, TINY)
    gain = stack.record.intensity_lines[3][0]
    assert gain > 2
    original = error_of(as_shown(model, original_intensity=True)).render(120.0)
    np.testing.assert_allclose(original, error_of(model).render(120.0) / gain, rtol=1e-5)


def test_tiles_blend_theirs(tmp_path: Path) -> None:
    z, y, x = np.mgrid[:7, :140, :70]
    grey = 128 + 60 * np.sin((y + 3 * z) / 9) + 50 * np.cos((x - 2 * z) / 7)
    grey += np.random.default_rng(0).normal(0, 6, grey.shape)
    stack = stack_from_array(np.clip(grey, 0, 255).astype(np.uint8), (40, 8, 8), name="waves")
    config: FitConfig = preset(
        "default", prior="linear", seed=3, device="cpu", warm_up_iterations=2, joint_iterations=2,
        teacher_student_iterations=3, pixels_per_gaussian=40.0,
    )  # fmt: skip
    for _ in fit_tiles(stack, config, folder=tmp_path / "run", size=TileSize(pixels=64, halo_pixels=8)):
        pass
    model = TiledModel(tmp_path / "run", device="cpu")
    error = error_of(model)
    sigma = error.render([60.0, 20.0])
    assert sigma.shape == (2, 140, 70) and (sigma > 0).all()
    assert error.half_width(0.9) > 1
    np.testing.assert_allclose(error.render(60.0, region=(3, 13, 4, 14)), sigma[0, 3:13, 4:14], rtol=1e-5)
    assert export(error, tmp_path / "e.tif").is_file()
