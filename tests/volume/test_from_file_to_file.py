"""Whole ways, from a file on the disk to a file on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from napari_emgauss._errors import ConfigError
from napari_emgauss.cli import main
from napari_emgauss.fitting import FitConfig, preset, run_fit
from napari_emgauss.render import load
from napari_emgauss.stack import PhantomConfig, Stack, read_stack, sample_stack
from napari_emgauss.volume import LazyVolume, channel_models, export

VNC = Path(__file__).resolve().parents[3] / "shared" / "data" / "vnc.ome.tif"
PHANTOM = PhantomConfig(shape=(31, 36, 44), factor=5)


def tiny(**settings: Any) -> FitConfig:
    return preset("fast", prior="linear", teacher_student_iterations=60, **settings)


def write_ome_zarr(path: Path, values: np.ndarray, voxel_nm: tuple[float, float, float]) -> None:
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    array = group.create_array("0", shape=values.shape, chunks=(2, 16, 16), dtype=values.dtype)
    array[:] = values
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    scale = [size / 1000 for size in voxel_nm]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


def test_a_stack_in_three_formats_gives_one_model(tmp_path: Path) -> None:
    values = np.asarray(sample_stack(PHANTOM).slices)
    folder = tmp_path / "pngs"
    folder.mkdir()
    for k, plane in enumerate(values):
        iio.imwrite(folder / f"em_{k:03}.png", plane)
    # MRC knows no unsigned bytes; the values are what counts.
    with mrcfile.new(tmp_path / "stack.mrc", values.astype(np.uint16)) as mrc:
        mrc.set_volume()
        mrc.voxel_size = (50.0, 50.0, 250.0)  # Angstrom, x y z
    write_ome_zarr(tmp_path / "stack.ome.zarr", values, (25.0, 5.0, 5.0))
    eight_bit = sample_stack(PHANTOM).normalisation
    stacks = [
        read_stack(folder, voxel_size_nm=(25.0, 5.0, 5.0)),
        read_stack(tmp_path / "stack.mrc", normalisation=eight_bit),
        read_stack(tmp_path / "stack.ome.zarr"),
    ]
    models = [run_fit(stack, tiny()) for stack in stacks]
    for other in models[1:]:
        for (name, mine), theirs in zip(models[0].named_parameters(), other.parameters(), strict=True):
            np.testing.assert_array_equal(mine.detach().numpy(), theirs.detach().numpy(), err_msg=name)
    np.testing.assert_array_equal(models[0].render(31.0), models[2].render(31.0))


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageJ hyperstack: the phantom, and its negative at 16 times the range, 16 bit."""
    values = np.asarray(sample_stack(PHANTOM).slices).astype(np.uint16)
    both = np.stack([values, 4000 - 8 * values], axis=1)
    path = tmp_path_factory.mktemp("channels") / "two.tif"
    metadata = {"axes": "ZCYX", "spacing": 0.025, "unit": "um"}
    tifffile.imwrite(path, both, imagej=True, metadata=metadata, resolution=(200.0, 200.0))
    return path


def test_two_channels_from_file_to_file(
    two_channels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["--preset", "fast", "--prior", "ensemble", "--set", "teacher_student_iterations=250", "-q"]
    assert main(["fit", str(two_channels), "-o", "m.safetensors", *settings]) == 0
    assert "7 slices of 36 × 44 in 2 channels" in capsys.readouterr().err
    model = load("m.safetensors", device="cpu")
    stack = read_stack(two_channels)
    assert (model.channels, stack.channels) == (2, 2)
    seen = model.render(stack.z_nm)
    assert (seen.shape, seen.dtype) == ((7, 2, 36, 44), np.uint16)
    truth = np.asarray(stack.slices[:]).astype(float)
    error = np.sqrt(((seen - truth) ** 2).mean(axis=(0, 2, 3)))
    spread = truth.std(axis=(0, 2, 3))
    assert (error < 0.6 * spread).all()  # noise is about half of the spread
    # One cloud for both: where one channel is dark the other is bright.
    assert np.corrcoef(seen[:, 0].ravel(), seen[:, 1].ravel())[0, 1] < -0.98

    for name in ("a.tif", "a.ome.tif", "a.ome.zarr", "c1.mrc"):
        more = ["--channel", "1"] if name == "c1.mrc" else []
        assert main(["export", "m.safetensors", "-o", name, "-q", *more]) == 0
    wanted = model.render(np.arange(31) * 5.0)
    with tifffile.TiffFile("a.tif") as file:
        assert file.is_imagej
        assert file.series[0].axes == "ZCYX"
        np.testing.assert_array_equal(file.asarray(), wanted)
    with tifffile.TiffFile("a.ome.tif") as file:
        assert file.is_ome
        assert file.series[0].axes == "ZCYX"
        np.testing.assert_array_equal(file.asarray(), wanted)
    group = zarr.open_group("a.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][:], np.moveaxis(wanted, 1, 0))  # type: ignore[index]
    (image,) = group.attrs["multiscales"]  # type: ignore[misc]
    assert [axis["name"] for axis in image["axes"]] == list("czyx")  # type: ignore[index]
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 5.0, 5.0, 5.0]  # type: ignore[index]
    with mrcfile.open("c1.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, wanted[:, 1])
    again = read_stack("a.ome.zarr", allow_isotropic=True)
    assert (again.channels, again.shape, again.z_nm[3]) == (2, (31, 36, 44), 15.0)
    np.testing.assert_array_equal(again.slices[3], wanted[3])
    assert main(["export", "m.safetensors", "-o", "a.mrc", "-q"]) == 2
    assert "one grey value per voxel" in capsys.readouterr().err


def test_exports_in_original_or_corrected_intensity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = np.asarray(sample_stack(PHANTOM).slices)
    gains = np.array([1.0, 0.6, 0.9, 0.7, 1.0, 0.65, 0.8])
    np.save("drift.npy", np.rint(values * gains[:, None, None]).astype(np.uint8))
    settings = ["--preset", "fast", "--prior", "linear", "--set", "teacher_student_iterations=120", "-q"]
    command = ["fit", "drift.npy", "--voxel-size", "25", "5", "5", *settings]
    assert main([*command, "-o", "m.safetensors", "--even-out"]) == 0
    assert main(["export", "m.safetensors", "-o", "even.tif", "-q"]) == 0
    assert main(["export", "m.safetensors", "-o", "as_it_was.tif", "--original-intensity", "-q"]) == 0
    even, original = (
        tifffile.imread(name)[::5].astype(float).mean(axis=(1, 2)) for name in ("even.tif", "as_it_was.tif")
    )
    raw = np.load("drift.npy").astype(float).mean(axis=(1, 2))
    assert even.std() < 0.35 * raw.std()
    np.testing.assert_allclose(original, raw, atol=6)
    model = load("m.safetensors", device="cpu")
    model.provenance["stack"] = {"intensity_correction": "clahe 0.01"}
    with pytest.raises(ConfigError, match=r"clahe 0\.01 cannot be undone"):
        export(model, tmp_path / "b.tif", original_intensity=True)


def test_each_channel_is_a_volume_of_its_own(two_channels: Path) -> None:
    stack = read_stack(two_channels)
    model = run_fit(stack, preset("fast", teacher_student=False, warm_up_iterations=5, joint_iterations=5))
    with pytest.raises(ConfigError, match="2 channels: make one for each of channel_models"):
        LazyVolume(model)
    volumes = [LazyVolume(one) for one in channel_models(model)]
    wanted = model.render(volumes[0].z_nm)
    for channel, volume in enumerate(volumes):
        assert volume.shape == (31, 36, 44)
        np.testing.assert_array_equal(np.asarray(volume[3:5]), wanted[3:5, channel])


def test_channels_are_chosen_and_corrected_one_by_one(two_channels: Path) -> None:
    from napari_emgauss.stack import correct_intensity, denoise, find_damage, mask_damage

    stack = read_stack(two_channels, skip="2")
    alone = read_stack(two_channels, skip="2", channel=1)
    assert (stack.channels, alone.channels) == (2, 1)
    assert stack.normalisation.of_channel(1) == alone.normalisation
    for change in (correct_intensity, lambda one: denoise(one, "gaussian")):
        np.testing.assert_array_equal(change(stack).slices[3, 1], change(alone).slices[3])
    mask = np.zeros((6, 36, 44), bool)
    mask[3, 5:9, 7:30] = True
    repaired = mask_damage(stack, mask)
    np.testing.assert_array_equal(repaired.slices[3, 1], mask_damage(alone, mask).slices[3])
    assert repaired.sound_pixels() is not None
    assert len(find_damage(stack)) == 6
    assert stack.crop((4, 20, 8, 30)).unit_slice(1).shape == (2, 16, 22)


@pytest.mark.skipif(not VNC.is_file(), reason="needs the public volume vnc, which is not part of the project")
def test_vnc_with_two_slices_skipped_is_fitted_filled_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Really anisotropic (10.9 pixels from slice to slice), of which two slices are left out as if they were lost."""
    monkeypatch.chdir(tmp_path)
    settings = ["--preset", "fast", "--prior", "linear", "--set", "teacher_student_iterations=150", "-q"]
    region = ["--region", "100", "164", "200", "256"]
    assert main(["fit", str(VNC), "-o", "m.safetensors", "--skip", "7,12", *region, *settings]) == 0
    assert main(["export", "m.safetensors", "-o", "iso.ome.tif", "-q"]) == 0
    model = load("m.safetensors", device="cpu")
    assert model.shape == (18, 64, 56)
    with tifffile.TiffFile("iso.ome.tif") as file:
        volume = file.asarray()
        about = json.loads(_ome_description(file.ome_metadata))
    assert volume.shape == (208, 64, 56)  # 950 nm in steps of about 4.6
    assert about["filled_slices"] == [7, 12]
    assert about["filled_z_nm"] == [350.0, 600.0]
    whole = read_stack(VNC).crop((100, 164, 200, 256))
    filled = volume[round(350 / 950 * 207)].astype(float)
    lost, before, after = (np.asarray(whole.slices[k]).astype(float) for k in (7, 6, 8))
    # Nobody saw that slice: it is as like the lost one as linear interpolation makes it, and a copy of neither side.
    linear = np.corrcoef(((before + after) / 2).ravel(), lost.ravel())[0, 1]
    assert np.corrcoef(filled.ravel(), lost.ravel())[0, 1] > 0.8 * linear
    assert np.abs(filled - before).mean() > 5
    assert np.abs(filled - after).mean() > 5


def _ome_description(xml: str | None) -> str:
    from xml.etree import ElementTree

    assert xml is not None
    found = [one.text for one in ElementTree.fromstring(xml).iter() if one.tag.endswith("Description")]
    assert found[0] is not None
    return found[0]


def test_export_tells_which_slices_were_partly_filled(tmp_path: Path) -> None:
    from napari_emgauss.stack import DamagedRectangle, mask_damage

    stack: Stack = mask_damage(sample_stack(PHANTOM), [DamagedRectangle(3, 0, 18, 0, 22)])
    model = run_fit(stack, preset("fast", teacher_student=False, warm_up_iterations=2, joint_iterations=2))
    path = export(model, tmp_path / "a.ome.zarr")
    (image,) = zarr.open_group(str(path), mode="r").attrs["multiscales"]  # type: ignore[misc]
    assert image["metadata"]["partly_filled_slices"] == {"3": 0.25}  # type: ignore[index]
