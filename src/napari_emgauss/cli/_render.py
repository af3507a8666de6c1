"""``emgauss render`` and ``emgauss export``: a model in, images out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_emgauss._errors import ExportError
from napari_emgauss._files import whole
from napari_emgauss.cli._inputs import say
from napari_emgauss.cli._outputs import output_path, refuse_source
from napari_emgauss.cli._progress import ProgressDisplay


def run_render_command(arguments: argparse.Namespace) -> int:
    """Render one slice, or several as a stack, in the source's dtype."""
    _refuse_unknown_suffix(Path(arguments.output))
    output = output_path(arguments, "output")
    from napari_emgauss.tiles import load
    from napari_emgauss.volume import Provenance, name_of_depth

    model = load(arguments.model, device=arguments.device)
    refuse_source(model, output)
    depths = [float(z) for z in arguments.z]
    _check_png(output, np.dtype(model.dtype), len(depths), model.channels)
    image = np.asarray(
        model.render(
            depths[0] if len(depths) == 1 else depths,
            region=None if arguments.region is None else tuple(arguments.region),
            shape=None if arguments.shape is None else tuple(arguments.shape),
        )
    )
    pixel_size_nm = _pixel_size_nm(model, arguments.region, image.shape[-2:])
    write_image(output, image, pixel_size_nm=pixel_size_nm, z_nm=depths, channels=model.channels)
    named = ", ".join(f"{z:g}" for z in depths[:5]) + (", …" if len(depths) > 5 else "") + " nm"
    if len(depths) == 1:
        numbers = Provenance.from_json(model.provenance).stack.fitted_numbers(len(model.z_nm))
        named += f" ({name_of_depth(depths[0], list(model.z_nm), numbers)})"
    say(f"Wrote '{output}': z = {named}, {image.shape[-2]} × {image.shape[-1]}, {image.dtype}.")
    return 0


def run_export_command(arguments: argparse.Namespace) -> int:
    """Write the isotropic volume, with a progress bar."""
    from napari_emgauss.stack import Frame
    from napari_emgauss.tiles import load
    from napari_emgauss.volume import (
        COMPANION_ROWS,
        Companion,
        as_shown,
        companion_of,
        export,
        is_folder_format,
        plan_export,
    )

    # A format that is unknown is refused before the model is read.
    output = output_path(arguments, "output", folder=is_folder_format(arguments.output, arguments.format))
    beside = [row.name for row in COMPANION_ROWS if getattr(arguments, row.name) is not None]
    paths = {name: output_path(arguments, name, folder=is_folder_format(getattr(arguments, name))) for name in beside}
    model: Any = load(arguments.model, device=arguments.device)
    for path in (output, *paths.values()):
        refuse_source(model, path)

    def beside_it(view: Any) -> dict[Companion, Any]:
        called = f"'{arguments.model}'"
        return {
            name: companion_of(view, name, called, f"leave --{name} out, or fit the stack again") for name in beside
        }

    beside_it(model)  # before a stack is read to show it
    shown: dict[str, Any] = {
        "channel": arguments.channel,
        "original_intensity": arguments.original_intensity,
        "look": arguments.look,
        "stack": arguments.stack,
        "texture_seed": arguments.texture_seed,
    }
    grid: dict[str, Any] = {
        "spacing_nm": arguments.spacing,
        "z_range_nm": None if arguments.z_range is None else tuple(arguments.z_range),
        "overwrite": arguments.force,
    }
    volumes = beside_it(as_shown(model, **shown) if beside else model)
    for name, volume in volumes.items():  # what cannot be planned is told before hours of rendering
        wanted = {key: grid[key] for key in ("spacing_nm", "z_range_nm")}
        plan_export(Frame.of(volume), paths[name], dtype=volume.dtype, channels=volume.channels, **wanted)
    bar_format = "{desc}: {percentage:3.0f}%|{bar}| {remaining} left"
    with ProgressDisplay("export", quiet=arguments.quiet, bar_format=bar_format) as display:
        written = export(
            model,
            output,
            format=arguments.format,
            **shown,
            on_note=say,
            on_progress=lambda update: display.tell(update.fraction),
            **grid,
        )
    say(f"Wrote '{written}'.")
    for name, volume in volumes.items():
        about = f": {bands_told(volume)}" if name == "error" else ""
        say(f"Wrote '{export(volume, paths[name], **grid)}'{about}.")
    return 0


def bands_told(error: Any) -> str:
    """How wide the bands of some error bars are, for people."""
    from napari_emgauss.priors import BANDS

    widths = [f"{share:.0%} within {error.half_width(share):.2f}" for share in BANDS]
    return f"sigma in grey values; of the truth {', '.join(widths)} sigma"


def write_image(
    path: Path, image: NDArray[Any], *, pixel_size_nm: tuple[float, float], z_nm: list[float], channels: int = 1
) -> None:
    """Write a slice or a few as TIFF, PNG or NumPy file; whole or not at all.

    Parameters
    ----------
    path : Path
        Where to; the suffix says the format.
    image : ndarray
        ``(H, W)``, or ``(Z, H, W)`` / ``(C, H, W)`` / ``(Z, C, H, W)`` for TIFF and NumPy.
    pixel_size_nm : tuple of float
        ``(y, x)``, kept in the TIFF's resolution.
    z_nm : list of float
        Depths of the slices, kept in the TIFF's description.
    channels : int
        Channels of the image.
    """
    _check_png(path, image.dtype, len(z_nm), channels)
    suffix = path.suffix.lower()
    with whole(path) as part:
        if suffix == ".npy":
            with part.open("wb") as file:
                np.save(file, image)
        elif suffix == ".png":
            _write_png(part, image)
        else:
            _write_tiff(part, image, pixel_size_nm, z_nm, channels)


def _check_png(path: Path, dtype: np.dtype[Any], slices: int, channels: int) -> None:
    """Refuse what a PNG cannot hold, before it is rendered."""
    if path.suffix.lower() != ".png":
        return
    if slices * channels > 1:
        raise ExportError(f"'{path}' can hold one slice of one channel only: choose .tif or .npy.")
    if dtype.kind != "f" and dtype.name not in ("uint8", "uint16"):
        raise ExportError(f"'{path}' cannot hold grey values of type {dtype.name}: choose .tif or .npy.")


def _write_tiff(
    path: Path, image: NDArray[Any], pixel_size_nm: tuple[float, float], z_nm: list[float], channels: int
) -> None:
    import tifffile

    per_cm = tuple(1e7 / size for size in reversed(pixel_size_nm))
    axes = {2: "YX", 3: "ZYX" if channels == 1 else "CYX", 4: "ZCYX"}[image.ndim]
    tifffile.imwrite(
        path,
        image,
        resolution=per_cm,
        resolutionunit="CENTIMETER",
        photometric="minisblack",
        metadata={"axes": axes, "z_nm": z_nm},
    )


def _write_png(path: Path, image: NDArray[Any]) -> None:
    import imageio.v3 as iio

    if image.dtype.kind == "f":
        image = np.rint(np.clip(image, 0, 1) * 65535).astype(np.uint16)
    iio.imwrite(path, image, extension=".png")


def _refuse_unknown_suffix(path: Path) -> None:
    if path.suffix.lower() not in (".tif", ".tiff", ".png", ".npy"):
        raise ExportError(f"'{path}' should end in .tif, .png or .npy; 'emgauss export' writes volumes.")


def _pixel_size_nm(model: Any, region: list[float] | None, samples: tuple[int, ...]) -> tuple[float, float]:
    height, width = model.shape[-2:]
    y0, y1, x0, x1 = region if region is not None else (0, height, 0, width)
    return (
        float(model.pixel_size_nm[0] * (y1 - y0) / samples[0]),
        float(model.pixel_size_nm[1] * (x1 - x0) / samples[1]),
    )
