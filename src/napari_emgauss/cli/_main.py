"""Entry point: the parser put together, and errors turned into one line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from napari_emgauss._errors import EmgaussError
from napari_emgauss._remedies import Door
from napari_emgauss.cli import _commands
from napari_emgauss.cli._stopping import Stopped, signals_as_exceptions

_LONGEST_COMPLAINT = 2000
EXIT_UNEXPECTED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


class _Version(argparse.Action):
    """Prints the version; read only when asked for, because reading it takes time."""

    def __call__(self, parser: argparse.ArgumentParser, *_args: object, **_kwargs: object) -> None:
        from napari_emgauss import __version__

        print(f"emgauss {__version__}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command; the reference page of the documentation is made from it."""
    parser = argparse.ArgumentParser(
        prog="emgauss",
        description="Isotropic volumes from anisotropic electron-microscopy stacks.",
        epilog="Lengths and depths are in nm. 'emgauss COMMAND --help' shows the options of a command.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is being done, on stderr")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in _commands.ALL:
        add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        0 when all went well; 2 for bad input and 1 for what was not foreseen (one sentence on stderr, the rest in a
        log that it names); 130 when interrupted, 128 and its number when a signal ended it.
    """
    _survive_narrow_encodings()
    typed = list(sys.argv[1:] if argv is None else argv)
    command = ""
    try:
        arguments = build_parser().parse_args(typed)
        command = str(arguments.command)
        with signals_as_exceptions():
            return _run(arguments)
    except EmgaussError as error:
        _complain(f"emgauss {command}: {error.worded(Door.COMMAND_LINE)}")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        _complain(f"\nemgauss {command}: interrupted.")
        return EXIT_INTERRUPTED
    except Stopped as stopped:
        _complain(f"\nemgauss {command}: ended by {stopped.name}; nothing half-written is left.")
        return stopped.exit_code
    except BrokenPipeError:
        # The reader of a pipe went away (`emgauss info … | head`): no error of ours. Python would complain once more
        # when it flushes at exit, unless stdout leads elsewhere by then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from napari_emgauss.cli._unexpected import told

        _complain(told(error, command, typed))
        # What the system refuses (a name too long, no permission, a full disk) is the input's or the place's fault.
        return EXIT_BAD_INPUT if isinstance(error, OSError) and error.errno is not None else EXIT_UNEXPECTED


def _run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr
    )
    module, function = arguments.handler.split(":")
    handler = getattr(importlib.import_module(f"napari_emgauss.cli.{module}"), function)
    code: int = handler(arguments) or 0
    sys.stdout.flush()
    return code


def _complain(text: str) -> None:
    if len(text) > _LONGEST_COMPLAINT:  # it quotes what was typed
        text = f"{text[:_LONGEST_COMPLAINT]} …"
    with contextlib.suppress(OSError):  # nobody is left to read it
        print(text, file=sys.stderr, flush=True)


def _survive_narrow_encodings() -> None:
    """Replace characters that a terminal cannot show (µ, ×) instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
