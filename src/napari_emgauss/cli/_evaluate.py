"""``emgauss evaluate`` and ``emgauss score``: numbers instead of promises."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_emgauss.cli._inputs import fit_config, new_file, say, stack_from


def run_evaluate_command(arguments: argparse.Namespace) -> int:
    """Thin a volume out, reconstruct it with each method, print the table and write what was asked for."""
    json_path = None if arguments.json is None else new_file(arguments.json, force=arguments.force)
    figure_path = None if arguments.figure is None else new_file(arguments.figure, force=arguments.force)

    from napari_emgauss.evaluate import EvaluationSettings, evaluate, read_volume, write_figure

    voxel_size = None if arguments.voxel_size is None else tuple(arguments.voxel_size)
    volume = read_volume(arguments.volume, voxel_size_nm=voxel_size)
    settings = EvaluationSettings(
        factor=arguments.factor,
        methods=arguments.methods,
        crop=None if arguments.crop is None else tuple(arguments.crop),
        axis=arguments.axis,
        sampling=arguments.sampling,
        **({} if arguments.fsim_planes is None else {"fsim_planes": arguments.fsim_planes or None}),
    )
    if arguments.masks is not None:
        return _run_masks(arguments, volume, settings, json_path)
    result = evaluate(volume, settings=settings, fit_config=fit_config(arguments), on_progress=_teller(arguments.quiet))
    print(result.table())
    if json_path is not None:
        result.write_json(json_path)
        say(f"Wrote '{json_path}'.")
    if figure_path is not None:
        write_figure(result, figure_path)
        say(f"Wrote '{figure_path}'.")
    return 0


def _run_masks(arguments: argparse.Namespace, volume: Any, settings: Any, json_path: Path | None) -> int:
    from napari_emgauss.evaluate import evaluate_masks, read_volume

    masks = read_volume(arguments.masks, voxel_size_nm=volume.voxel_size_nm)
    result = evaluate_masks(
        volume,
        masks.values,
        settings=settings,
        fit_config=fit_config(arguments),
        sam2_weights=arguments.sam2_weights,
        on_progress=_teller(arguments.quiet),
    )
    print(result.table())
    if json_path is not None:
        result.write_json(json_path)
        say(f"Wrote '{json_path}'.")
    return 0


def run_score_command(arguments: argparse.Namespace) -> int:
    """Cross-validate on the stack itself, print the table and the verdict."""
    json_path = None if arguments.json is None else new_file(arguments.json, force=arguments.force)
    from napari_emgauss.evaluate import score

    stack = stack_from(arguments, arguments.stack)
    result = score(
        stack, methods=arguments.methods, fit_config=fit_config(arguments), on_progress=_teller(arguments.quiet)
    )
    print(result.table())
    print()
    print(result.verdict())
    if json_path is not None:
        result.write_json(json_path)
        say(f"Wrote '{json_path}'.")
    return 0


def _teller(quiet: bool) -> Callable[[Any], None] | None:
    """Shows progress as one line that rewrites itself; None when nothing is to be shown."""
    if quiet:
        return None
    from tqdm import tqdm

    bar = tqdm(total=1.0, bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}", mininterval=0.2, leave=False)

    def show(progress: Any) -> None:
        bar.set_description_str(progress.text, refresh=False)
        bar.update(progress.fraction - bar.n)
        if progress.fraction >= 1:
            bar.close()

    return show
