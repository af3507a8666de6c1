"""``emgauss evaluate`` and ``emgauss score``: numbers instead of promises."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_emgauss._errors import ConfigError
from napari_emgauss._progress import ProgressUpdate
from napari_emgauss.cli._inputs import fit_config, say, stack_from, tell_notes
from napari_emgauss.cli._outputs import figure_path as path_of_figure, output_path
from napari_emgauss.cli._progress import ProgressDisplay


def run_evaluate_command(arguments: argparse.Namespace) -> int:
    """Thin a volume out, reconstruct it with each method, print the table and write what was asked for."""
    json_path = None if arguments.json is None else output_path(arguments, "json")
    figure_path = None if arguments.figure is None else path_of_figure(arguments)
    _refuse_together(arguments)

    from napari_emgauss.evaluation import evaluate, evaluate_labels, evaluate_masks, read_volume, write_figure

    config = fit_config(arguments)
    voxel_size = None if arguments.voxel_size is None else tuple(arguments.voxel_size)
    volume = read_volume(arguments.volume, voxel_size_nm=voxel_size)
    tell_notes(volume)
    common: dict[str, Any] = {
        "methods": arguments.methods,
        "crop": None if arguments.crop is None else tuple(arguments.crop),
        "axis": arguments.axis,
        "sampling": arguments.sampling,
        "config": config,
    }
    result: Any
    with _progress("evaluate", quiet=arguments.quiet) as show:
        if arguments.masks is not None:
            masks = read_volume(arguments.masks, voxel_size_nm=voxel_size)
            tell_notes(masks)
            weights = arguments.sam2_weights
            result = evaluate_masks(volume, masks, arguments.factor, **common, sam2_weights=weights, on_progress=show)
        elif arguments.labels is not None:
            labels = read_volume(arguments.labels, voxel_size_nm=voxel_size)
            tell_notes(labels)
            result = evaluate_labels(volume, labels, arguments.factor, **common, on_progress=show)
        else:
            others = {name: np.asarray(read_volume(path).slices) for name, path in arguments.compare}
            weights = arguments.lpips_weights
            result = evaluate(
                volume,
                arguments.factor,
                **common,
                reconstructions=others,
                lpips_weights=weights,
                on_progress=show,
            )
    print(result.table())
    if hasattr(result, "details"):
        print(f"\n{result.details()}")
    _write(result, json_path)
    if figure_path is not None:
        write_figure(result, figure_path)
        say(f"Wrote '{figure_path}'.")
    return 0


def _refuse_together(arguments: argparse.Namespace) -> None:
    """Refuse options that would be left unheard: each of these evaluations answers one question.

    Raises
    ------
    ConfigError
        See there.
    """
    of_structures = [f"--{name}" for name in ("masks", "labels") if getattr(arguments, name) is not None]
    if len(of_structures) == 2:
        raise ConfigError("--masks and --labels are two evaluations: run one after the other.")
    of_planes = {
        "--figure": arguments.figure,
        "--compare": arguments.compare,
        "--lpips-weights": arguments.lpips_weights,
    }
    for option, given in of_planes.items():
        if given and of_structures:
            raise ConfigError(
                f"{option} cannot be combined with {of_structures[0]}: run the evaluation again without it."
            )


def run_score_command(arguments: argparse.Namespace) -> int:
    """Cross-validate on the stack itself, print the table and the verdict."""
    json_path = None if arguments.json is None else output_path(arguments, "json")
    from napari_emgauss.evaluation import score

    config = fit_config(arguments)
    stack = stack_from(arguments, arguments.stack)
    with _progress("score", quiet=arguments.quiet) as show:
        result = score(
            stack,
            methods=arguments.methods,
            config=config,
            lpips_weights=arguments.lpips_weights,
            on_progress=show,
        )
    print(f"{result.table()}\n\n{result.details()}\n\n{result.verdict()}")
    _write(result, json_path)
    return 0


def _write(result: Any, path: Path | None) -> None:
    if path is not None:
        result.write_json(path)
        say(f"Wrote '{path}'.")


@contextlib.contextmanager
def _progress(title: str, *, quiet: bool) -> Iterator[Callable[[ProgressUpdate], None] | None]:
    """How far the scores are, on stderr; None when nothing is to be shown."""
    if quiet:
        yield None
        return
    with ProgressDisplay(title) as display:
        yield lambda update: display.tell(update.fraction, update.text)
