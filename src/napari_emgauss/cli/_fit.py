"""``emgauss fit``: the loop around the fit that shows progress and keeps what an interruption would lose."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from napari_emgauss._errors import ConfigError, EmgaussError, ExportError, FitError, ModelFileError
from napari_emgauss._files import check_writable
from napari_emgauss._holding import hold_output
from napari_emgauss._paths import same_file
from napari_emgauss._remedies import Door
from napari_emgauss._rescue import rescued
from napari_emgauss.cli._inputs import (
    asked_for,
    device_line,
    fit_config,
    has_fit_options,
    say,
    stack_from,
    stem,
)
from napari_emgauss.cli._outputs import output_path, refuse_inputs
from napari_emgauss.cli._progress import ProgressDisplay, duration
from napari_emgauss.cli._stopping import polite_signals, survive_lost_terminal
from napari_emgauss.cli._tiles import has_tile_options, run_fit_in_tiles

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitUpdate
    from napari_emgauss.render import EmgaussModel

MODEL, CHECKPOINT = "model", "checkpoint"


def run_fit_command(arguments: argparse.Namespace) -> int:
    """Fit, show progress, write the model; on Ctrl-C or a polite kill write a checkpoint and say where."""
    if has_tile_options(arguments):
        return run_fit_in_tiles(arguments, _Interruption())
    default = f"{stem(Path(arguments.stack))}.safetensors"
    output = output_path(arguments, "output", path=default if arguments.output is None else arguments.output)
    _refuse_foreign(output, MODEL, arguments)
    checkpoint = output.with_name(f"{stem(output)}.checkpoint.safetensors")
    resume = _resume_from(arguments.resume, checkpoint)
    _check_checkpoint(checkpoint, resume, arguments)
    with hold_output(output), hold_output(checkpoint):
        return _fit_and_save(arguments, output, checkpoint, resume)


def _fit_and_save(arguments: argparse.Namespace, output: Path, checkpoint: Path, resume: Path | None) -> int:
    # A bare --resume goes on with the checkpoint's own settings; given ones must agree with them, which fit checks.
    own = resume is not None and arguments.prior is None and not has_fit_options(arguments)
    config = None if own else fit_config(arguments, **asked_for(arguments))
    stack = stack_from(arguments, arguments.stack)
    depth, height, width = stack.shape
    channels = f" in {stack.channels} channels" if stack.channels > 1 else ""
    say(
        f"{stack.name}: {depth} slices of {height} × {width}{channels}, pixel {stack.pixel_size_nm[0]:g} × "
        f"{stack.pixel_size_nm[1]:g} nm, slices {stack.anisotropy_factor:.3g} pixels apart"
    )
    say(device_line(arguments.device or "auto"))
    if config is not None:
        from napari_emgauss.tiles import advice_on_memory

        door = Door.COMMAND_LINE

        if advice := advice_on_memory(stack.shape, stack.z_nm, stack.pixel_size_nm, config, door=door):
            say(f"Warning: {advice}")

    from napari_emgauss.fitting import fit

    last: FitUpdate | None = None
    with _Interruption() as interruption, fit_progress(quiet=arguments.quiet) as show:
        updates = fit(stack, config, resume=resume, checkpoint=checkpoint)
        with contextlib.closing(updates):  # type: ignore[type-var]
            for update in updates:
                last = update
                show(update)
                if update.finished and update.model is not None:
                    _save(update.model, output, checkpoint)  # the fit removes its checkpoint when it is asked for more
                elif interruption.asked:
                    break
    if last is None or last.model is None:
        raise FitError("The fit ended before it had a model: run it again with --verbose to see why.")
    if not last.finished:
        return _say_where(checkpoint, last, arguments, interruption.exit_code)

    _tell_shifts(last.model)
    checkpoint.unlink(missing_ok=True)  # one that this run resumed from
    say(f"Wrote '{output}' ({last.gaussians:,} Gaussians, {last.elapsed_s:.0f} s).")
    return 0


def _save(model: EmgaussModel, output: Path, checkpoint: Path) -> None:
    """Write the model; where that fails, anywhere else, and say where it is."""
    try:
        model.save(output)
    except Exception as error:  # whatever it is, hours of work are at stake
        told = str(error) if isinstance(error, EmgaussError) else f"'{output}' could not be written: {error!r}."
        place = rescued(output, model.save)
        if place is not None:
            told += f" The fitted model is kept complete in '{place}'; save it with:  cp '{place}' '{output}'"
        elif checkpoint.is_file():
            told += (
                f" The state of the fit is kept in '{checkpoint}': make room, then run the same command with --resume."
            )
        raise ModelFileError(told) from error


def _refuse_foreign(path: Path, what: str, arguments: argparse.Namespace) -> None:
    """Even with --force, a fit replaces only what a fit wrote."""
    from napari_emgauss.fitting import CHECKPOINT_FORMAT
    from napari_emgauss.model import MODEL_FORMAT, stored_format

    expected = {MODEL: MODEL_FORMAT, CHECKPOINT: CHECKPOINT_FORMAT}[what]
    if path.exists() and stored_format(path) != expected:
        raise ExportError(f"'{path}' is not a napari-emgauss {what}, so it is not replaced: move it elsewhere.")


def _check_checkpoint(checkpoint: Path, resume: Path | None, arguments: argparse.Namespace) -> None:
    """The state of an earlier fit, hours perhaps, is only replaced on purpose; what is none of ours never is."""
    if resume is None:
        refuse_inputs(arguments, checkpoint)
    if checkpoint.exists() and (resume is None or not same_file(resume, checkpoint)):
        _refuse_foreign(checkpoint, CHECKPOINT, arguments)
        if not arguments.force:
            raise ConfigError(
                f"'{checkpoint}' holds the state of an earlier fit: continue it with --resume, or start afresh with "
                "--force."
            )
    check_writable(checkpoint, overwrite=True)


def _tell_shifts(model: EmgaussModel) -> None:
    """How far the slices were found to lie off, where that was learned."""
    from napari_emgauss.volume import Provenance

    provenance = Provenance.from_json(model.provenance)
    largest = provenance.slice_shift_largest_px
    if largest is None:
        return
    if largest == 0:
        say("No slice was shifted: the slices are too unlike their neighbours to measure how far off they are.")
    else:
        median = provenance.slice_shift_median_px or 0.0
        say(
            f"Slices were off by {median:.2f} pixels (median), {largest:.2f} at most; the model's provenance lists "
            "every shift."
        )


def _say_where(checkpoint: Path, last: FitUpdate, arguments: argparse.Namespace, exit_code: int) -> int:
    if not checkpoint.is_file():
        say("\nInterrupted before the first iteration: there is nothing to keep.")
        return exit_code
    say(
        f"\nInterrupted at iteration {last.iteration} of {last.total_iterations} ({last.stage}); the state is kept in "
        f"'{checkpoint}'. Run the same command with --resume to continue."
    )
    return exit_code


def _resume_from(choice: str | None, checkpoint: Path) -> Path | None:
    if choice is None:
        return None
    path = Path(choice) if choice else checkpoint
    if not path.is_file():
        raise ConfigError(f"There is no checkpoint '{path}' to resume: leave --resume out to start afresh.")
    return path


class _Interruption:
    """Turns a first Ctrl-C, SIGTERM or SIGHUP into a request to stop after the running step; a second acts at once."""

    def __init__(self) -> None:
        self.asked = False
        self.exit_code = 130
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Interruption:
        with contextlib.suppress(ValueError):  # not in the main thread: whoever calls from there has own ways
            for number in (signal.SIGINT, *polite_signals()):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.exit_code = 128 + number
        survive_lost_terminal()
        say("\nStopping after this step and keeping the state (interrupt again to stop at once).")

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def fit_progress(*, quiet: bool) -> Iterator[Callable[[FitUpdate], None]]:
    """Stage, loss, Gaussians, iterations per second and time left, on stderr."""
    with ProgressDisplay("starting", quiet=quiet) as display:

        def show(update: FitUpdate) -> None:
            if update.stage == "prior" and not update.text.startswith("Warning"):
                display.tell(update.stage_fraction, update.text, stage="prior")
                return
            display.say(update.text, always=update.text.startswith("Warning"))
            details = [f"iteration {update.iteration} of {update.total_iterations}"]
            if update.loss is not None:
                details.append(f"loss {update.loss:.4f}")
            details.append(f"{update.gaussians:,} Gaussians")
            if update.eta_s is not None:
                details.append(f"{duration(update.eta_s)} left")
            done = update.iteration / max(1, update.total_iterations)
            display.tell(done, ", ".join(details), stage=f"fit ({update.stage})")

        yield show
