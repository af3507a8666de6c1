"""The Triton kernels without a GPU: their numbers in Triton's interpreter, and that they compile for real cards."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed; it comes with torch's CUDA build on Linux", allow_module_level=True)


def run(arguments, **environment):
    command = [sys.executable, *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=400, check=False)


def test_kernels_agree_with_the_reference_in_the_interpreter():
    # Triton decides while it is imported whether it interprets: hence another process.
    tests = Path(__file__).with_name("triton_interpreter.py")
    done = run(["-m", "pytest", "-q", str(tests)], TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from napari_emgauss.render import _triton, _triton_kernels as kernels

INTEGERS = {"boxes", "source_lists", "source_counts", "lists", "counts", "tile_counts", "block_counts", "last"}
SCALARS = {
    "splats", "count", "height", "width", "tiles_x", "blocks_x", "blocks", "capacity", "block_capacity",
    "block_lists", "channels",
}
lists = {"RATIO": _triton.RATIO}
jobs = [
    (kernels.prepare, {"BLOCK": 256}, 4),
    (kernels.list_splats, {"SIDE": 64, "FROM_BLOCKS": False, "BLOCK": 1024, **lists}, 4),
    (kernels.list_splats, {"SIDE": 16, "FROM_BLOCKS": True, "BLOCK": 256, **lists}, 4),
    (kernels.finish, {"ROW": 8, "BLOCK": 256}, 4),
]
for channels in (1, 4):
    options = {"SIDE": _triton.TILE, "CHANNELS": channels, **lists}
    jobs.append((kernels.blend, options, _triton.WARPS))
    jobs.append((kernels.blend_backward, {"ROW": kernels.row_of_sums(channels), **options}, _triton.WARPS))
for kernel, constants, warps in jobs:
    kinds = {}
    for name in kernel.arg_names:
        pointer = "*i32" if name in INTEGERS else "*fp32"
        kinds[name] = "constexpr" if name in constants else "i32" if name in SCALARS else pointer
    source = ASTSource(
        fn=kernel,
        signature=kinds,
        constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
    )
    for capability in (80, 90):
        target, options = GPUTarget("cuda", capability, 32), {"num_warps": warps, **_triton._FUSION}
        compiled = triton.compile(source, target=target, options=options)
        assert len(compiled.asm["cubin"]) > 1000, kernel
        assert f"sm_{capability}" in compiled.asm["ptx"], kernel
        lines = compiled.asm["ptx"].splitlines()
        adds = [line for line in lines if "atom." in line or "red.global" in line]
        # A splat's row of sums is added to in one instruction, without an order that would cost a fence.
        assert len(adds) == (kernel is kernels.blend_backward), kernel
        assert all("relaxed" in line for line in adds), adds
        if kernel in (kernels.blend, kernels.blend_backward):
            # A tile is one warp: nobody to wait for.
            assert not any("bar.sync" in line for line in lines), kernel
print("compiled", len(jobs))
"""


def test_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    done = run(["-c", COMPILE], TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "compiled 8"
