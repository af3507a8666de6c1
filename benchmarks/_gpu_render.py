"""Sections of ``gpu.py`` on renderers: the machine, parity, times side by side, constants of the kernels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from _clouds import cloud
from _gpu_bench import Bench, Clock, Row, guarded, render_floors

from napari_emgauss.render import splat

Given = dict[str, torch.Tensor]


def machine(bench: Bench, clock: Clock, presets: list[str]) -> Iterator[Row]:
    """The device, its speeds, and every renderer's state."""
    rates = bench.rates
    yield {
        "what": "machine",
        "device": bench.device,
        "copy_gb_per_s": rates.bytes_per_s / 1e9,
        "float32_tflops": rates.flops_per_s / 1e12,
        "bfloat16_tflops": rates.bfloat16_flops_per_s / 1e12,
        "reason": bench.reason,
    }
    for status in bench.statuses:
        yield {"what": "renderer", "name": status.name, "works": status.available, "reason": status.reason}


def parity(bench: Bench, clock: Clock, presets: list[str]) -> Iterator[Row]:
    """Pictures and gradients of every backend against the reference in float64 on the CPU."""
    side, count = (24, 60) if bench.toy else (96, 1500)
    for name, splats, change, faint in (
        ("usual", count, 1.0, 1.0),
        ("tiny", count, 25.0, 1.0),
        ("huge", count // 5, 1e-3, 1.0),
        ("faint", count, 1.0, 0.02),
    ):
        given = cloud(side, splats, batch=2, channels=3)
        with torch.no_grad():
            given["conics"] *= change
            given["opacities"] *= faint
        expected = _picture_and_gradients(given, side, torch.float64, "cpu", "reference")
        for backend in bench.backends:
            row: Row = {"what": "parity", "cloud": name, "backend": backend}

            def compare(r: Row = row, b: str = backend, g: Given = given, e: list[torch.Tensor] = expected) -> None:
                found = _picture_and_gradients(g, side, torch.float32, bench.device, b)
                # Rounding may put a pixel on the other side of the cut at 1/255: told apart as a share.
                away = (found[0] - e[0]).abs()
                r["pixels_beyond_1e-4"] = float((away > 1e-4).double().mean())
                r["median_error"] = float(away.median())
                names = ("means", "conics", "opacities", "values")
                for which, have, want in zip(names, found[1:], e[1:], strict=True):
                    r[f"gradient_{which}"] = float((have - want).norm() / want.norm().clamp(min=1e-12))

            yield guarded(row, compare)


def _picture_and_gradients(
    given: Given, side: int, dtype: torch.dtype, device: str, backend: str
) -> list[torch.Tensor]:
    leaves = {name: v.detach().to(device, dtype).requires_grad_() for name, v in given.items()}
    image = splat(**leaves, size=(side, side), background=0.2, backend=backend)  # type: ignore[arg-type]
    (image - 0.4).square().mean().backward()
    return [v.detach().double().cpu() for v in (image, *(v.grad for v in leaves.values() if v.grad is not None))]


def render(bench: Bench, clock: Clock, presets: list[str]) -> Iterator[Row]:
    """Renderers side by side over size x Gaussians x depths at once, with the floor of each."""
    sizes = ((256, 10_000), (512, 40_000), (1024, 130_000), (1024, 500_000), (2048, 600_000))
    for side, count in ((32, 150),) if bench.toy else sizes:
        for batch in (1, 2) if bench.toy else (1, 4, 8):
            for backend in bench.backends:
                if backend == "reference" and (side > 256 or batch > 1):
                    continue  # known to be slow; one figure says how slow
                if clock.left < 10:
                    return
                row: Row = {
                    "what": "render",
                    "size": side,
                    "gaussians": count,
                    "depths": batch,
                    "backend": backend,
                }
                yield guarded(row, lambda r=row: _time_render(bench, r))  # type: ignore[misc]


def _time_render(bench: Bench, row: Row) -> None:
    side, batch, backend = row["size"], row["depths"], row["backend"]
    inputs = cloud(side, row["gaussians"], batch=batch, device=bench.device)
    weights = torch.rand(batch, 1, side, side, device=bench.device)
    few = 2 if backend == "reference" else 20

    def picture() -> None:
        with torch.no_grad():
            splat(**inputs, size=(side, side), backend=backend)  # type: ignore[arg-type]

    def both() -> None:
        splat(**inputs, size=(side, side), backend=backend).backward(weights)  # type: ignore[arg-type]

    with bench.peak(row):
        row["forward_ms"] = bench.milliseconds(picture, few)
        row["forward_backward_ms"] = bench.milliseconds(both, few)
    row["forward_floor_ms"], row["forward_backward_floor_ms"] = render_floors(inputs, side, bench.rates)
    row["slices_per_second"] = 1e3 * batch / row["forward_ms"]


def sweep(bench: Bench, clock: Clock, presets: list[str]) -> Iterator[Row]:
    """Tile side and warps of the Triton kernels: which constants the card likes best."""
    if "triton" not in bench.backends:
        return
    from napari_emgauss.render import _triton

    for side, count in ((64, 500),) if bench.toy else ((512, 40_000), (1024, 130_000)):
        for tile in (8, 16, 32):
            for warps in (1, 2, 4, 8):
                if clock.left < 10:
                    return
                _triton.TILE, _triton.WARPS = tile, warps
                row: Row = {
                    "what": "sweep",
                    "size": side,
                    "gaussians": count,
                    "depths": 4,
                    "backend": "triton",
                    "tile": tile,
                    "warps": warps,
                }
                yield guarded(row, lambda r=row: _time_render(bench, r))  # type: ignore[misc]
