"""Observed slices as they are in the source, and everything else as the model renders it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_emgauss._errors import ConfigError, EmgaussError, ExportError, StackError
from napari_emgauss.cli import main
from napari_emgauss.fitting import preset, run_fit
from napari_emgauss.render import EmgaussModel, load
from napari_emgauss.stack import Corrections, Stack, read_stack, stack_from_array
from napari_emgauss.tiles import TileSize, fit_tiles
from napari_emgauss.volume import ExactModel, Provenance, exact_model, export, name_of_depth

from .conftest import AnalyticModel

SHAPE, VOXEL_NM = (7, 20, 26), (40.0, 5.0, 5.0)
TINY = preset("fast", prior="linear", iterations_scale=0.002)


def grey_values(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    z, y, x = np.mgrid[: shape[0], : shape[-2], : shape[-1]]
    smooth = 120 + 60 * np.sin(0.4 * z + 0.3 * x) * np.cos(0.3 * y)
    return (smooth + np.random.default_rng(seed).integers(0, 50, smooth.shape)).astype(np.uint8)


def write_stack(path: Path, values: NDArray[Any]) -> Path:
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", VOXEL_NM, strict=True)}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"}
    axes = "ZYX" if values.ndim == 3 else "ZCYX"
    tifffile.imwrite(path, values, metadata={"axes": axes, **sizes, **units}, photometric="minisblack")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_stack(tmp_path / "stack.ome.tif", grey_values())


def exported(model: Any, path: Path, **options: Any) -> NDArray[Any]:
    return np.asarray(tifffile.imread(export(model, path, look="exact", **options)))


def assert_own_slices(volume: NDArray[Any], own: NDArray[Any], model: Any, every: int = 8) -> None:
    """Every eighth depth is a slice of the source, and the others are what the model renders."""
    np.testing.assert_array_equal(volume[::every], own)
    between = np.arange(len(volume)) % every > 0
    depths = model.z_nm[0] + np.arange(len(volume)) * VOXEL_NM[0] / every
    np.testing.assert_array_equal(volume[between], model.render(depths[between]))


def test_a_fit_of_a_file_finds_its_own_slices_again(file: Path, tmp_path: Path) -> None:
    run_fit(read_stack(file), TINY).save(tmp_path / "m.safetensors")
    model = load(tmp_path / "m.safetensors", device="cpu")
    notes: list[str] = []
    volume = exported(model, tmp_path / "a.ome.tif", on_note=notes.append)
    assert_own_slices(volume, grey_values(), model)
    assert notes == ["7 of 7 observed slices are in the volume as they are in the source."]
    smooth = tifffile.imread(export(model, tmp_path / "smooth.ome.tif"))
    assert (smooth[::8] != grey_values()).mean() > 0.5


def test_every_selection_of_a_file_is_found_again(tmp_path: Path) -> None:
    values = np.stack([grey_values(1), grey_values(2), grey_values(3)], axis=1)
    path = write_stack(tmp_path / "stack.ome.tif", values)
    stack = read_stack(path, channel=(2, 0), region=(1, 19, 2, 24), z_range_nm=(40, 240), skip="3")
    model = run_fit(stack, TINY)
    volume = exported(model, tmp_path / "a.ome.tif")
    own = values[1:, [2, 0], 1:19, 2:24]
    np.testing.assert_array_equal(volume[[0, 8, 24, 32, 40]], own[[0, 1, 3, 4, 5]])
    np.testing.assert_array_equal(volume[16], model.render(120.0))  # skipped, so inferred
    one = exported(model, tmp_path / "b.ome.tif", channel=1)
    np.testing.assert_array_equal(one[[0, 8, 24, 32, 40]], own[[0, 1, 3, 4, 5], 1])


def test_damaged_pixels_are_inferred(file: Path, tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2, 3:9, 4:12] = 1
    fitted = run_fit(Corrections(damage=mask, denoise="gaussian").apply(read_stack(file)), TINY)
    fitted.save(tmp_path / "m.safetensors")
    model = load(tmp_path / "m.safetensors", device="cpu")
    volume, damaged = exported(model, tmp_path / "a.ome.tif"), mask[2] != 0
    np.testing.assert_array_equal(volume[16][~damaged], grey_values()[2][~damaged])
    np.testing.assert_array_equal(volume[16][damaged], model.render(80.0)[damaged])
    np.testing.assert_array_equal(volume[[0, 8, 24]], grey_values()[[0, 1, 3]])
    # Without its mask nobody knows which pixels of the slice are good.
    model.provenance["own_slices"] = {**model.provenance["own_slices"], "damage": {}}
    notes: list[str] = []
    volume = exported(model, tmp_path / "b.ome.tif", on_note=notes.append)
    np.testing.assert_array_equal(volume[16], model.render(80.0))
    assert notes == [
        "6 of 7 observed slices are in the volume as they are in the source; 1 rendered whole, because the damage "
        "mask is not known."
    ]


def test_evened_out_slices_need_the_original_intensity(file: Path, tmp_path: Path) -> None:
    model = run_fit(Corrections(even_out="linear").apply(read_stack(file)), TINY)
    with pytest.raises(ConfigError, match=r"differ in brightness .* original_intensity=True"):
        exported(model, tmp_path / "a.ome.tif")
    volume = exported(model, tmp_path / "a.ome.tif", original_intensity=True)
    np.testing.assert_array_equal(volume[::8], grey_values())
    other = run_fit(Corrections(even_out="histogram").apply(read_stack(file)), TINY)
    with pytest.raises(ConfigError, match="of the kind histogram cannot be undone: export with look='smooth'"):
        exported(other, tmp_path / "b.ome.tif")


@pytest.mark.parametrize("where", ["stack", "fit"])
def test_slices_that_were_moved_are_refused(file: Path, tmp_path: Path, where: str) -> None:
    model = run_fit(read_stack(file), TINY)
    moved = [[0.0, 0.5], *[[0.0, 0.0]] * 6]
    if where == "stack":
        model.provenance["stack"] = {**model.provenance["stack"], "jitter_removed_px": moved}
    else:
        model.provenance["slice_shifts_px"] = moved
    with pytest.raises(ConfigError, match="moved into place, so none lies in the volume"):
        exported(model, tmp_path / "a.ome.tif")
    model.provenance["stack"].pop("jitter_removed_px", None)
    model.provenance["slice_shifts_px"] = [[0.0, 0.0]] * 7
    assert_own_slices(exported(model, tmp_path / "a.ome.tif"), grey_values(), model)


def test_a_file_that_changed_moved_or_is_unknown_is_told_before_rendering(file: Path, tmp_path: Path) -> None:
    model, target = run_fit(read_stack(file), TINY), tmp_path / "a.ome.tif"
    elsewhere = file.rename(tmp_path / "elsewhere.ome.tif")
    with pytest.raises(StackError, match=r"cannot be read any more.*give it with stack="):
        exported(model, target)
    assert_own_slices(exported(model, target, stack=elsewhere), grey_values(), model)
    changed = grey_values()
    changed[5, 3, 3] ^= 1
    write_stack(file, changed)
    for stack in (None, file, read_stack(file)):
        with pytest.raises(StackError, match="not the stack that the model was fitted to, or has changed since"):
            exported(model, tmp_path / "b.ome.tif", stack=stack)
    with pytest.raises(StackError, match=r"cannot be taken from .* it has 5 × 20 × 26 voxels"):
        exported(model, tmp_path / "b.ome.tif", stack=write_stack(tmp_path / "few.ome.tif", changed[:5]))
    with pytest.raises(StackError, match="type uint16"):
        exported(model, tmp_path / "b.ome.tif", stack=write_stack(tmp_path / "w.ome.tif", changed.astype(np.uint16)))
    old = model.snapshot()
    del old.provenance["own_slices"]
    with pytest.raises(ConfigError, match=r"older than this version .*give it with stack="):
        exported(old, tmp_path / "b.ome.tif")
    assert_own_slices(exported(old, tmp_path / "b.ome.tif", stack=elsewhere), grey_values(), old)
    old.provenance["source"] = None
    with pytest.raises(ConfigError, match="does not know which file"):
        exported(old, tmp_path / "c.ome.tif")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("a.ome.tif", "b.ome.tif", "stack.ome.tif", "elsewhere.ome.tif", "few.ome.tif", "w.ome.tif")
    }


def test_the_stack_itself_is_enough_and_is_never_overwritten(file: Path, tmp_path: Path) -> None:
    in_memory = stack_from_array(grey_values(), VOXEL_NM)
    model = run_fit(in_memory, TINY)
    assert_own_slices(exported(model, tmp_path / "a.ome.tif", stack=in_memory), grey_values(), model)
    before = file.read_bytes()
    with pytest.raises(ExportError, match="the stack itself"):
        export(model, file, look="exact", stack=file, overwrite=True)
    assert file.read_bytes() == before
    with pytest.raises(ConfigError, match="only where slices are kept"):
        export(model, tmp_path / "b.ome.tif", stack=file)
    with pytest.raises(ConfigError, match="no look 'rough'"):
        export(model, tmp_path / "b.ome.tif", look="rough")  # type: ignore[arg-type]


def test_slices_between_depths_of_the_grid_are_counted_not_moved(make_model: Any, tmp_path: Path) -> None:
    model: AnalyticModel = make_model((4, 6, 7), "uint16")  # at 1000, 1040, 1080, 1120 nm
    own = np.zeros((4, 6, 7), np.uint16)
    stack = stack_from_array(own + 9, z_nm=model.z_nm, pixel_size_nm=4.0, allow_damaged=True)
    notes: list[str] = []
    volume = exported(model, tmp_path / "a.ome.tif", stack=stack, spacing_nm=24, on_note=notes.append)
    np.testing.assert_array_equal((volume == 9).all(axis=(1, 2)), [True, False, False, False, False, True])
    np.testing.assert_array_equal(volume[2], model.truth([1048])[0])  # 8 nm from a slice
    assert notes == [
        "2 of 4 observed slices are in the volume as they are in the source; 2 lie between the depths of its grid and "
        "are rendered: a spacing of 20 nm suits them better."
    ]
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        assert tif.ome_metadata is not None and "exact" in tif.ome_metadata


def test_a_tiled_model_keeps_its_slices(file: Path, tmp_path: Path) -> None:
    values = grey_values(shape=(7, 64, 70))
    stack = read_stack(write_stack(file, values))
    *_, last = fit_tiles(stack, TINY, folder=tmp_path / "m", size=TileSize(64, 8, 5, 2))
    from napari_emgauss.tiles import load as load_any

    assert last is not None and last.finished
    model = load_any(tmp_path / "m", device="cpu")
    assert len(model.index.plan) > 1
    assert_own_slices(exported(model, tmp_path / "a.ome.tif"), values, model)


def test_other_samplings_show_the_mean_of_the_source(make_model: Any) -> None:
    own = np.arange(4 * 6 * 8, dtype=np.float32).reshape(4, 6, 8)
    model = ExactModel(make_model((4, 6, 8)), own)
    np.testing.assert_array_equal(model.render(1040.0, region=(1, 5, 2, 8)), own[1, 1:5, 2:8])
    halves = own[1].reshape(3, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(model.render(1040.0, shape=(3, 4)), halves)
    # Half a pixel to the right: the mean of two neighbours.
    shifted = model.render(1040.0, region=(0, 6, 0.5, 7.5))
    np.testing.assert_allclose(shifted, (own[1, :, :-1] + own[1, :, 1:]) / 2)


def test_depths_are_called_what_they_are() -> None:
    z_nm, numbers = [0.0, 40.0, 120.0], [5, 6, 8]
    assert name_of_depth(40, z_nm, numbers) == "fitted to slice 6"
    assert name_of_depth(120, z_nm, numbers, "exact") == "your slice 8"
    assert name_of_depth(100, z_nm, numbers, "exact") == "inferred, 20 nm from slice 8"
    assert name_of_depth(120, z_nm, numbers, "textured") == "your slice 8"
    assert name_of_depth(100, z_nm, numbers, "textured") == "inferred, 20 nm from slice 8; noise added"
    assert name_of_depth(0, z_nm) == "fitted to slice 0"


def test_what_is_kept_is_json_and_small(file: Path) -> None:
    stack = read_stack(file)
    model: EmgaussModel = run_fit(stack, TINY)
    known = Provenance.from_json(json.loads(json.dumps(model.provenance)))
    assert len(known.own_slices.digests) == 7 and known.own_slices.damage == {}
    assert Provenance.from_json({"own_slices": {"digests": 3, "damage": 4}}).own_slices.digests == ()
    assert replace(stack).own_slices is stack.slices and isinstance(stack, Stack)


@pytest.mark.parametrize(
    "told",
    [{"region": [1, 2]}, {"region": "all"}, {"jitter_removed_px": "far"}, {"dataset": 7}, {"channels_in_file": "x"}],
)
def test_a_foreign_record_is_told_in_a_sentence(file: Path, tmp_path: Path, told: dict[str, Any]) -> None:
    model = run_fit(read_stack(file), TINY)
    model.provenance["stack"] = {**model.provenance["stack"], **told}
    with pytest.raises(EmgaussError):
        exported(model, tmp_path / "a.ome.tif")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("damage", ["!!", "AAAA", 5, None])
def test_a_foreign_record_of_damage_is_no_damage_that_is_known(file: Path, tmp_path: Path, damage: Any) -> None:
    model = run_fit(read_stack(file), TINY)
    model.provenance["own_slices"]["damage"] = {"2": damage}
    volume = exported(model, tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(volume[16], model.render(80.0))


def test_the_command_line_keeps_slices(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--preset", "fast", "--prior", "linear", "--iterations-scale", "0.002"]
    assert main(["fit", "stack.ome.tif", "-o", "m.safetensors", "-q", *options]) == 0
    capsys.readouterr()
    assert main(["export", "m.safetensors", "-o", "a.ome.tif", "--look", "exact", "-q"]) == 0
    assert "7 of 7 observed slices are in the volume" in capsys.readouterr().err
    np.testing.assert_array_equal(tifffile.imread("a.ome.tif")[::8], grey_values())
    assert main(["info", "m.safetensors"]) == 0
    told = capsys.readouterr().out
    assert "7, numbered 0 to 6; all other depths are inferred" in told and "digests" not in told
    assert main(["render", "m.safetensors", "--z", "60", "-o", "r.tif"]) == 0
    assert "z = 60 nm (inferred, 20 nm from slice" in capsys.readouterr().err
    file.rename("moved.ome.tif")
    assert main(["export", "m.safetensors", "-o", "b.ome.tif", "--look", "exact", "-q"]) == 2
    assert "give it with --stack FILE" in capsys.readouterr().err
    assert (
        main(
            [
                "export",
                "m.safetensors",
                "-o",
                "moved.ome.tif",
                "--look",
                "exact",
                *["--stack", "moved.ome.tif", "--force"],
            ]
        )
        == 2
    )
    assert "the stack, which is never overwritten" in capsys.readouterr().err
    assert (
        main(["export", "m.safetensors", "-o", "b.ome.tif", "--look", "exact", "--stack", "moved.ome.tif", "-q"]) == 0
    )
    np.testing.assert_array_equal(tifffile.imread("b.ome.tif")[::8], grey_values())


def test_every_error_is_ours(make_model: Any) -> None:
    with pytest.raises(EmgaussError, match="has the shape"):
        ExactModel(make_model(), np.zeros((4, 6, 8), np.float32))
    with pytest.raises(ConfigError, match="does not know which file"):
        exact_model(make_model())
