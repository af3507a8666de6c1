"""Opening model files. For our own files only: a reader that claims ``*.tif`` makes napari ask at every TIFF."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

LONGEST_HEADER = 100 << 20


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[tuple[Any, ...]]] | None:
    """For npe2: the reader of EMGauss models; None for other safetensors files."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_models if paths and all(is_model_file(one) for one in paths) else None


def is_model_file(path: str) -> bool:
    """Whether a path is a model: a folder of tiles, or a file whose header (length, then JSON) has our key."""
    if Path(path).is_dir():
        from napari_emgauss.tiles import is_tiled

        return is_tiled(path)
    if not str(path).endswith(".safetensors"):
        return False
    try:
        with Path(path).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= LONGEST_HEADER:
                return False
            header = json.loads(file.read(length))
        return "emgauss" in header.get("__metadata__", {})
    except (OSError, struct.error, ValueError, AttributeError):
        return False


def read_models(path: str | list[str]) -> list[tuple[Any, ...]]:
    """Continuous-z layers of model files.

    Raises
    ------
    EmgaussError
        A file is damaged, or written by a newer version.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return [layer for one in paths for layer in _read_model(Path(one))]


def _read_model(path: Path) -> list[tuple[Any, ...]]:
    from napari_emgauss.plugin.process._remote_model import RemoteModel
    from napari_emgauss.plugin.process._render_service import render_service
    from napari_emgauss.plugin.view._channel_layers import channel_layers
    from napari_emgauss.plugin.view._compare import fitted_part
    from napari_emgauss.plugin.view._continuous_layer import DepthShift, LayerRecord, layer_data_tuple
    from napari_emgauss.plugin.view._geometry import placement_in_nm

    from ._background import wait_responsively

    def load() -> RemoteModel:
        model = RemoteModel.open(render_service(), path)
        model.render(float(model.z_nm[0]))  # the window's first look must find a compiled renderer
        return model

    model = wait_responsively(load)
    record = LayerRecord("continuous", model, placement_in_nm(model.z_nm, model.pixel_size_nm))
    _, (y0, _, x0, _) = fitted_part(record)
    placement, shift = placement_in_nm(model.z_nm, model.pixel_size_nm, (y0, x0)), DepthShift()
    name = path.name.removesuffix(".safetensors").removesuffix(".emgauss")
    look = {"contrast_limits": contrast_limits(model)}
    return [
        layer_data_tuple(LayerRecord("continuous", one, placement, shift), f"{name}{suffix}", **(theirs or look))
        for one, suffix, theirs in channel_layers(model)
    ]


def contrast_limits(model: Any) -> tuple[float, float]:
    """Black and white of the fitted stack."""
    low, high = model.info.limits
    return float(low), float(high)
