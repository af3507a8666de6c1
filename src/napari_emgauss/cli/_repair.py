"""``emgauss repair``: the stack again, with what was missing or damaged filled."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from napari_emgauss._errors import ConfigError, EmgaussError, FitError
from napari_emgauss._rescue import rescued
from napari_emgauss.cli._fit import fit_progress
from napari_emgauss.cli._inputs import asked_for, fit_config, has_fit_options, say, stack_from
from napari_emgauss.cli._outputs import output_path
from napari_emgauss.cli._progress import ProgressDisplay

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig
    from napari_emgauss.stack import Stack


def run_repair_command(arguments: argparse.Namespace) -> int:
    """Find what is to be filled, fit a model unless there is one, and write the repaired stack."""
    from napari_emgauss.volume import check_repair, is_folder_format, repair

    output = output_path(arguments, "output", folder=is_folder_format(arguments.output))
    if arguments.mask is not None:
        output_path(arguments, "mask", folder=is_folder_format(arguments.mask))
    without_device = argparse.Namespace(**{**vars(arguments), "device": None})
    if arguments.model is not None and (arguments.prior is not None or has_fit_options(without_device)):
        raise ConfigError("--model names a fitted model: leave out either it or the options of the fit.")
    if arguments.skip == "auto":
        arguments.skip = _bad_slices(arguments)
    config = None if arguments.model is not None else fit_config(arguments, **asked_for(arguments))
    if config is not None and config.slice_shifts:
        raise ConfigError("Slices that the fit shifts cannot stay as they are: leave slice_shifts out.")
    stack = stack_from(arguments, arguments.stack)
    check_repair(stack)
    _check_formats(arguments, stack)
    model = _given(arguments) if config is None else _fitted(stack, config, arguments)
    try:
        with ProgressDisplay("repair", quiet=arguments.quiet) as display:
            written = repair(
                model,
                stack,
                output,
                mask=arguments.mask,
                overwrite=arguments.force,
                on_note=say,
                on_progress=lambda update: display.tell(update.fraction),
            )
    except (EmgaussError, KeyboardInterrupt):
        place = None if config is None else rescued(output.with_suffix(".safetensors"), model.save)
        if place is not None:
            say(f"The fitted model is kept in '{place}': give it with --model.")
        raise
    say(f"Wrote '{written}'.")
    return 0


def _bad_slices(arguments: argparse.Namespace) -> str | None:
    """The slices that are found bad, as ``--skip`` takes them."""
    from napari_emgauss.stack import find_damage, suggested_skip

    plain = {"skip": None, "damage_mask": None, "straighten": False, "even_out": None, "denoise": None}
    stack = stack_from(
        argparse.Namespace(**{**vars(arguments), **plain}), arguments.stack, notes=False, allow_damaged=True
    )
    reports = find_damage(stack)
    bad = suggested_skip(reports)
    for report in reports:
        if report.index in bad:
            say(f"Slice {report.index} is filled: it {'; '.join(report.reasons)}.")
    if not bad:
        say("No bad slices were found.")
    return ",".join(map(str, bad)) or None


def _check_formats(arguments: argparse.Namespace, stack: Stack) -> None:
    """Tell what a format cannot hold before the fit, not after it."""
    from napari_emgauss.stack import Frame
    from napari_emgauss.volume import check_keeps_values, plan_export

    grey = (arguments.output, stack.normalisation.dtype, stack.channels)
    for name, dtype, channels in (grey, (arguments.mask, "uint8", 1)):
        if name is not None:
            plan = plan_export(Frame.of(stack), name, dtype=dtype, channels=channels, depths_nm=stack.z_nm)
            check_keeps_values(plan, dtype)


def _given(arguments: argparse.Namespace) -> Any:
    from napari_emgauss.tiles import load

    return load(arguments.model, device=arguments.device or "auto")


def _fitted(stack: Stack, config: FitConfig, arguments: argparse.Namespace) -> Any:
    from napari_emgauss.fitting import fit

    model = None
    with fit_progress(quiet=arguments.quiet) as show:
        for update in fit(stack, config):
            show(update)
            model = update.model
    if model is None:
        raise FitError("The fit ended before it had a model: run it again with --verbose to see why.")
    return model
