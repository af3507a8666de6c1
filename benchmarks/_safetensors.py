"""Reads safetensors files where the package of that name is not installed, as on a bare GPU machine.

The format is a length (8 bytes, little endian), a JSON header with dtype, shape and place of every tensor, then the
tensors' bytes. Only what the project's own weights need is here; the benchmark writes none.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}


def load_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Tensors of a file, by name, on the CPU."""
    import torch

    data = Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        content = bytearray(data[start + first : start + last])
        dtype = getattr(torch, _DTYPES[entry["dtype"]])
        tensor = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        found[name] = tensor.reshape(entry["shape"])
    return found


def stand_in() -> None:
    """Let ``from safetensors.torch import load_file`` work where the package is missing."""
    if "safetensors" in sys.modules or importlib.util.find_spec("safetensors") is not None:
        return
    package, torch_part = types.ModuleType("safetensors"), types.ModuleType("safetensors.torch")
    torch_part.load_file = load_file  # type: ignore[attr-defined]
    package.torch = torch_part  # type: ignore[attr-defined]
    sys.modules.update({"safetensors": package, "safetensors.torch": torch_part})
