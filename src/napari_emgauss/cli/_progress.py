"""How far a command is: a bar where somebody looks at a terminal, and lines where nobody does.

A log file, the output of a CI run or of a SLURM job is read afterwards, with an editor that knows nothing of carriage
returns: there a line comes at every tenth of the work, or every minute.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from napari_emgauss.cli._inputs import STEADY_STDERR

# A line at each of these parts of the work, and at least so often.
_PART, _SECONDS = 0.1, 60.0


def on_terminal() -> bool:
    """Whether stderr is shown by something that can rewrite a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class ProgressDisplay:
    """Shows on stderr how far some work is. A context manager; quiet it shows nothing.

    Parameters
    ----------
    title : str
        What is being done.
    quiet : bool
        Show nothing.
    bar_format : str
        Of the bar on a terminal, as tqdm has it.
    clock : callable
        Seconds; for tests.
    """

    def __init__(
        self,
        title: str,
        *,
        quiet: bool = False,
        bar_format: str = "{desc}: {percentage:3.0f}%|{bar}| {postfix}",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._quiet, self._clock = title, quiet, clock
        self._said: set[str] = set()
        self._last = (title, -1.0, clock())
        self._unsaid = ""
        self._bar: Any = None
        if not quiet and on_terminal():
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0, desc=title, bar_format=bar_format, file=STEADY_STDERR, dynamic_ncols=True, mininterval=0.1
            )

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._unsaid:  # how far it came in the end
            print(self._unsaid, file=STEADY_STDERR, flush=True)

    def tell(self, fraction: float | None, details: str = "", *, stage: str = "") -> None:
        """How far the work is.

        Parameters
        ----------
        fraction : float or None
            Done, in [0, 1]; None while nobody can tell.
        details : str
            More, for the same line.
        stage : str
            Where the work has stages that are each told from 0 to 1: its name, instead of the title.
        """
        if self._quiet:
            return
        title = stage or self._title
        if self._bar is None:
            self._tell_line(title, fraction, details)
            return
        self._bar.set_description_str(title, refresh=False)
        self._bar.set_postfix_str(details, refresh=False)
        self._bar.update((fraction or 0.0) - self._bar.n)

    def say(self, text: str, *, always: bool = False) -> None:
        """A line of its own, the same one only once; with ``always`` also where nothing else is shown."""
        if (self._quiet and not always) or not text or text in self._said:
            return
        self._said.add(text)
        if self._bar is not None:
            self._bar.write(text, file=STEADY_STDERR)
        else:
            print(text, file=STEADY_STDERR, flush=True)

    def _tell_line(self, title: str, fraction: float | None, details: str) -> None:
        last_title, last_part, last_time = self._last
        # Whole tenths, counted so that 0.3 (which is a little less) is three of them.
        part = -1.0 if fraction is None else int(fraction / _PART + 1e-9) * _PART
        now = self._clock()
        share = "" if fraction is None else f"{100 * fraction:.0f} %"
        line = f"{title}: {', '.join(filter(None, (share, details)))}"
        new_part = part > (last_part if title == last_title else -1.0) and (part > 0 or title != last_title)
        if not new_part and now - last_time < _SECONDS:
            self._unsaid = line
            return
        self._unsaid = ""
        self._last = (title, max(part, last_part if title == last_title else -1.0), now)
        print(line, file=STEADY_STDERR, flush=True)
