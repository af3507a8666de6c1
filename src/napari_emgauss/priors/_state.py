"""How far a prior's preparation has come: kept in memory while it runs, written into checkpoints, gone on from."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_emgauss._errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor

KEEP_INTERVAL_S = 10.0
"""Training leaves its state so often: a copy of some megabytes, which takes milliseconds."""


@dataclass(frozen=True)
class StateEntry:
    """What one step of a preparation left.

    Parameters
    ----------
    values : dict
        As JSON can hold them.
    tensors : dict
        On the CPU, and nobody else's.
    """

    values: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)


class PriorState:
    """What a preparation has come to, by name: results that took long, and where a training stands.

    A preparation asks with :meth:`get` for what an earlier one left, and leaves with :meth:`put` what it has come to.
    It may run in one thread while another writes the state to a file.

    Parameters
    ----------
    entries : mapping, optional
        What an earlier preparation left, see :meth:`entries`.

    Notes
    -----
    Nothing that can be computed anew in seconds belongs here, nor the guessed slices, which are many times as large as
    the stack: they follow from what was learned.
    """

    def __init__(self, entries: Mapping[str, StateEntry] | None = None) -> None:
        self._entries: dict[str, StateEntry] = dict(entries or {})
        self._lock = threading.RLock()
        self._prefix = ""
        self._kept_at = [time.monotonic()]

    def part(self, name: str) -> PriorState:
        """The state of a part of the preparation, kept with the whole."""
        part = PriorState.__new__(PriorState)
        part._entries, part._lock, part._kept_at = self._entries, self._lock, self._kept_at
        part._prefix = f"{self._prefix}{name}/"
        return part

    def get(self, name: str) -> StateEntry | None:
        """What was left under this name; None where nothing was."""
        with self._lock:
            return self._entries.get(self._prefix + name)

    def put(self, name: str, values: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
        """Leave something, in place of what was left under the same name; tensors are copied to the CPU."""
        copies = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in (tensors or {}).items()}
        with self._lock:
            self._entries[self._prefix + name] = StateEntry(dict(values), copies)
            self._kept_at[0] = time.monotonic()

    def drop(self, name: str) -> None:
        """Forget what was left under this name, and in the part of this name."""
        full = self._prefix + name
        with self._lock:
            for key in [key for key in self._entries if key == full or key.startswith(f"{full}/")]:
                del self._entries[key]

    def take_over(self, entries: Mapping[str, StateEntry]) -> None:
        """Hold these entries in place of all that was left so far."""
        with self._lock:
            self._entries.clear()
            self._entries.update(entries)

    def entries(self) -> dict[str, StateEntry]:
        """All that was left, by name; entries never change."""
        with self._lock:
            return dict(self._entries)

    @property
    def due(self) -> bool:
        """Whether it is time for a training to leave its state again."""
        return time.monotonic() - self._kept_at[0] >= KEEP_INTERVAL_S

    @contextmanager
    def kept_if_stopped(self, keep: Callable[[], None]) -> Iterator[None]:
        """Call ``keep`` if the block is left by an exception: whoever is told of progress may stop the work by one."""
        try:
            yield
        except BaseException:
            keep()
            raise

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Within the block, what does not fit is told as what it is.

        Raises
        ------
        ModelFileError
            In place of the errors that damaged values lead to.
        """
        try:
            yield
        except ModelFileError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError, RuntimeError) as error:
            raise ModelFileError(
                "The saved state of the prior is damaged or was made with other settings: start the fit afresh, "
                "without resuming."
            ) from error


def state_to_tensors(entries: Mapping[str, StateEntry]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Entries as a file of tensors with a header holds them: tensors by entry and name, and each entry's values."""
    tensors = {f"{entry}:{name}": value for entry, one in entries.items() for name, value in one.tensors.items()}
    return tensors, {entry: one.values for entry, one in entries.items()}


def state_from_tensors(tensors: Mapping[str, Tensor], values: object) -> dict[str, StateEntry]:
    """Entries again, from what :func:`state_to_tensors` gave.

    Raises
    ------
    TypeError
        The values are not a table of tables.
    """
    entries: dict[str, StateEntry] = {}
    if not isinstance(values, dict):
        raise TypeError("The state of a preparation is not a table.")
    for entry, table in values.items():
        if not isinstance(table, dict):
            raise TypeError("The state of a preparation is not a table.")
        prefix = f"{entry}:"
        own = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
        entries[entry] = StateEntry(table, own)
    return entries


def check_alike(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless tensors have the names, shapes and types of others."""
    have, want = (
        {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()} for tensors in (given, wanted)
    )
    if have != want:
        raise ValueError("The tensors are not those of this network.")
