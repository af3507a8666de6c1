import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_emgauss import EmgaussError
from napari_emgauss.plugin._reader import get_reader, is_model_file


def _safetensors(path: Path, header: Any, tail: bytes = b"") -> str:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + tail)
    return str(path)


def test_only_our_own_files(model_file: Path, tmp_path: Path) -> None:
    assert is_model_file(str(model_file)) and get_reader(str(model_file)) is not None
    foreign = _safetensors(tmp_path / "lora.safetensors", {"__metadata__": {"format": "pt"}})
    assert get_reader(foreign) is None
    assert get_reader([str(model_file), foreign]) is None
    for name, content in {"empty": b"", "short": b"\1\2", "text": b"hello, this is no tensor file"}.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        assert get_reader(str(path)) is None
    assert not is_model_file(_safetensors(tmp_path / "list.safetensors", []))
    assert not is_model_file(str(tmp_path / "missing.safetensors"))
    assert not is_model_file(_safetensors(tmp_path / "ours.tif", {"__metadata__": {"emgauss": "{}"}}))


def test_a_model_becomes_a_layer_in_nm(model_file: Path, service: object) -> None:
    ((levels, keywords, kind),) = get_reader(str(model_file))(str(model_file))
    assert kind == "image" and keywords["name"] == "small"
    assert keywords["scale"] == pytest.approx((40 / 9, 4, 5))
    assert keywords["units"] == ("nm",) * 3 and keywords["contrast_limits"] == (0, 255)
    image = np.asarray(levels[0][9])
    assert image.shape == (24, 32) and image.dtype == np.uint8


def test_a_model_of_a_newer_version_says_so(model_file: Path, tmp_path: Path, service: object) -> None:
    blob = model_file.read_bytes()
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + length])
    ours = json.loads(header["__metadata__"]["emgauss"])
    header["__metadata__"]["emgauss"] = json.dumps({**ours, "format_version": 999})
    path = _safetensors(tmp_path / "new.emgauss.safetensors", header, blob[8 + length :])
    with pytest.raises(EmgaussError, match="newer"):
        get_reader(path)(path)


def test_a_truncated_model_says_so(model_file: Path, tmp_path: Path, service: object) -> None:
    path = tmp_path / "cut.emgauss.safetensors"
    path.write_bytes(model_file.read_bytes()[:-100])
    with pytest.raises(EmgaussError):
        get_reader(str(path))(str(path))
