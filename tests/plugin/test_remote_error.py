"""Error bars of models that the rendering process holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_emgauss import EmgaussModel
from napari_emgauss.fitting import preset, run_fit
from napari_emgauss.model import ErrorBars
from napari_emgauss.plugin.process._export_child import ExportRequest
from napari_emgauss.plugin.process._export_job import export_job
from napari_emgauss.plugin.process._job import JobDone
from napari_emgauss.plugin.process._problem import ChildFailedError
from napari_emgauss.plugin.process._remote_model import RemoteError, RemoteModel
from napari_emgauss.plugin.view._error_status import error_of, quick_error_of
from napari_emgauss.stack import read_stack, stack_from_array
from napari_emgauss.tiles import TiledModel, TileSize, fit_tiles
from napari_emgauss.volume import Companion

QUICK = preset("fast", prior="linear", device="cpu", iterations_scale=0.001, pixels_per_gaussian=40.0)


def test_sigma_of_tiles_comes_from_the_renderer(service: Any, tmp_path: Path) -> None:
    z, y, _x = np.mgrid[:5, :100, :66]
    grey = 128 + 60 * np.sin((y + 3 * z) / 9) + np.random.default_rng(0).normal(0, 8, z.shape)
    stack = stack_from_array(np.clip(grey, 0, 255).astype(np.uint8), (40, 8, 8), name="waves")
    for _ in fit_tiles(stack, QUICK, folder=tmp_path / "run", size=TileSize(pixels=64, halo_pixels=8)):
        pass
    here = TiledModel(tmp_path / "run", device="cpu").error
    assert here is not None
    model = RemoteModel.open(service, tmp_path / "run")
    found = error_of(model)
    assert isinstance(found, RemoteError) and found.dtype == np.float32 and found.shape == model.shape
    np.testing.assert_array_equal(found.render([60.0, 20.0]), here.render([60.0, 20.0]))
    np.testing.assert_array_equal(found.render(60.0, region=(3, 9, 4, 8)), here.render(60.0, region=(3, 9, 4, 8)))
    assert found.half_width(0.9) == here.half_width(0.9)
    assert quick_error_of(model) is None, "the pointer does not wait for the rendering process"


def test_a_model_without_error_bars_has_none_here_either(service: Any, model_file: Path) -> None:
    assert error_of(RemoteModel.open(service, model_file)) is None


def waves() -> EmgaussModel:
    z, y, _x = np.mgrid[:5, :48, :48]
    grey = 128 + 60 * np.sin((y + 3 * z) / 9) + np.random.default_rng(0).normal(0, 8, z.shape)
    return run_fit(stack_from_array(np.clip(grey, 0, 255).astype(np.uint8), (40, 8, 8), name="waves"), QUICK)


def test_error_bars_of_one_model_are_brought_over(service: Any, tmp_path: Path) -> None:
    fitted = waves()
    fitted.save(tmp_path / "m.safetensors")
    found = quick_error_of(RemoteModel.open(service, tmp_path / "m.safetensors"))
    assert isinstance(found, ErrorBars) and fitted.error is not None
    np.testing.assert_array_equal(found.render(60.0), fitted.error.render(60.0))


def result_of(model: RemoteModel, request: ExportRequest) -> Any:
    """How an export ends."""
    return [message for message in export_job(model, request).messages() if message is not None][-1]


def test_an_export_writes_them_beside_in_the_grey_values_of_the_file(service: Any, tmp_path: Path) -> None:
    fitted = waves()
    fitted.save(tmp_path / "m.safetensors")
    model = RemoteModel.open(service, tmp_path / "m.safetensors")
    request = ExportRequest(str(tmp_path / "v.ome.tif"), 40.0, dtype="int8", device="cpu", beside=("error",))
    assert isinstance(result_of(model, request), JobDone)
    written = tifffile.imread(tmp_path / "v.error.ome.tif")
    assert written.dtype == np.float32 and written.shape == tifffile.imread(tmp_path / "v.ome.tif").shape == (5, 48, 48)
    assert fitted.error is not None
    # 0 to 255 as 0 to 127
    np.testing.assert_allclose(written, fitted.error.render([0.0, 40.0, 80.0, 120.0, 160.0]) * 127 / 255, rtol=1e-5)


@pytest.mark.parametrize(("beside", "told"), [("error", "already exists"), ("confidence", "untick the confidence")])
def test_what_cannot_lie_beside_is_refused_before_anything_is_rendered(
    service: Any, tmp_path: Path, beside: Companion, told: str
) -> None:
    waves().save(tmp_path / "m.safetensors")
    model = RemoteModel.open(service, tmp_path / "m.safetensors")
    foreign = tmp_path / "v.error.ome.tif"
    foreign.write_bytes(b"mine")
    with pytest.raises(ChildFailedError, match=told):
        result_of(model, ExportRequest(str(tmp_path / "v.ome.tif"), 40.0, device="cpu", beside=(beside,)))
    assert foreign.read_bytes() == b"mine" and not (tmp_path / "v.ome.tif").exists()


def test_the_stack_itself_is_never_replaced_by_what_lies_beside(service: Any, tmp_path: Path) -> None:
    source = tmp_path / "v.error.ome.tif"
    grey = np.asarray(waves().render(np.linspace(0, 160, 5)))
    sizes = {"PhysicalSizeZ": 0.04, "PhysicalSizeY": 0.008, "PhysicalSizeX": 0.008}
    tifffile.imwrite(source, grey, metadata={"axes": "ZYX", **sizes})
    before = source.read_bytes()
    run_fit(read_stack(source), QUICK).save(tmp_path / "m.safetensors")
    model = RemoteModel.open(service, tmp_path / "m.safetensors")
    request = ExportRequest(str(tmp_path / "v.ome.tif"), 40.0, overwrite=True, device="cpu", beside=("error",))
    with pytest.raises(ChildFailedError, match="is the stack that the model was fitted to"):
        result_of(model, request)
    assert source.read_bytes() == before and not (tmp_path / "v.ome.tif").exists()
