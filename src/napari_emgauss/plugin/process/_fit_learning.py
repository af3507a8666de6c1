"""A fit whose prior uses what was learned of the stack before, or leaves what it learns. Runs in the fit's process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from napari_emgauss._errors import ModelFileError

from ._fit_store import checkpoint_path, saved_config, saved_fit
from ._prior_store import find_prior, keep_prior, read_prior

if TYPE_CHECKING:
    from napari_emgauss.fitting import FitConfig, FitUpdate
    from napari_emgauss.plugin.process._request import FitRequest
    from napari_emgauss.stack import Stack


class LearningFit:
    """A fit in one piece.

    Parameters
    ----------
    request : FitRequest
    stack : Stack
    config : FitConfig
        Its settings; a fit that is resumed has its own.
    stack_id : str
        Fingerprint of the whole stack; where it is empty nothing is used, nor kept.
    tell : callable
        Gets a sentence about the prior that is used, or nothing where it is not used after all.
    """

    def __init__(
        self, request: FitRequest, stack: Stack, config: FitConfig, stack_id: str, tell: Callable[[str], None]
    ) -> None:
        from napari_emgauss.priors import PriorState

        self._request, self._stack, self._stack_id, self._tell = request, stack, stack_id, tell
        self._checkpoint = None if request.patch else checkpoint_path(request)
        saved = saved_config(request) if request.resume and saved_fit(request) is not None else None
        self._resumed, self._config = saved is not None, saved or config
        usable = request.reuse_prior and not self._resumed and bool(stack_id)
        kept = find_prior(stack_id, request, self._config) if usable else None
        before = None if kept is None else read_prior(kept)
        self._used = before is not None
        self._state = before or PriorState()
        if kept is not None and self._used:
            tell(f"{kept.sentence} is used.")

    def updates(self) -> Generator[FitUpdate]:
        """The fit; from the start without it, where what the prior has learned before does not fit after all."""
        from napari_emgauss.priors import PriorState

        iterated = False
        try:
            with self._fit() as updates:
                for update in updates:
                    iterated = iterated or update.iteration > 0
                    yield update
            return
        except ModelFileError:
            if not self._used or iterated:
                raise
        self._used, self._state = False, PriorState()
        self._tell("")
        with self._fit() as updates:
            yield from updates

    def keep_prior(self) -> None:
        """Leave what the prior has learned, once it has."""
        if self._stack_id and not self._used:
            keep_prior(self._stack_id, self._request, self._config, self._state)

    def _fit(self) -> contextlib.closing[Generator[FitUpdate]]:
        from napari_emgauss.fitting import fit

        updates = fit(
            self._stack,
            None if self._resumed else self._config,
            resume=self._checkpoint if self._resumed else None,
            checkpoint=self._checkpoint,
            prior_state=self._state,
        )
        return contextlib.closing(updates)  # type: ignore[arg-type]
