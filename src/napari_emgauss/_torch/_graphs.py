"""Steps that launch the same work again and again, recorded once as CUDA graphs.

A step of a small network or of a fit is hundreds of short launches, which a host needs longer to make than a large card
to carry out; a graph launches them in one go. Off unless the environment variable ``EMGAUSS_CUDA_GRAPHS`` is 1.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

_log = logging.getLogger(__name__)

_EAGER_RUNS = 2
"""A step runs so often before it is recorded: kernels are compiled, constants and moments of optimisers are made."""
_MOST_GRAPHS = 512


class Recorder(Protocol):
    """Records the launches of a step without carrying them out; the answer carries them out."""

    def __call__(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]: ...


class _Recorded(NamedTuple):
    replay: Callable[[], None]
    result: Tensor


def wanted(device: torch.device) -> bool:
    """Whether graphs are to be used on ``device``."""
    return device.type == "cuda" and os.environ.get("EMGAUSS_CUDA_GRAPHS") == "1"


class GraphedSteps:
    """Runs steps, by key; the third time a key is met its step is recorded, and replayed from then on.

    A step must do nothing but launch work on tensors that stay where they are: what differs between two runs of one key
    has to be in such tensors. Where recording fails, or the first replay gives another result than the step itself, one
    line in the log says so and all steps run as they are.

    Parameters
    ----------
    record : Recorder or None
        None never records.
    recording : callable
        Makes a context in which steps are recorded.
    """

    def __init__(
        self,
        record: Recorder | None,
        recording: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._record = record
        self._recording = recording
        self._runs: dict[Hashable, int] = {}
        self._recorded: dict[Hashable, _Recorded] = {}
        self._trusted = False

    @classmethod
    def on(
        cls, device: torch.device, recording: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> GraphedSteps:
        """For steps on ``device``: recorded where that is wanted there."""
        return cls(CudaRecorder(device) if wanted(device) else None, recording)

    @property
    def active(self) -> bool:
        """Whether steps are, or will be, recorded."""
        return self._record is not None

    def forget(self) -> None:
        """Drop all recordings: tensors that they work on have been replaced."""
        self._runs.clear()
        self._recorded.clear()

    def run(
        self, key: Hashable | None, step: Callable[[], Tensor], expected: Callable[[], Tensor] | None = None
    ) -> Tensor:
        """Do ``step``.

        Parameters
        ----------
        key : hashable or None
            Steps of one key launch the same work on the same tensors; None is never recorded.
        step : callable
            Returns a tensor; of a replayed step a copy of it is returned.
        expected : callable, optional
            Computes that tensor and changes nothing: what the first replay is held against.
        """
        if self._record is None or key is None:
            return step()
        known = self._recorded.get(key)
        if known is not None:
            known.replay()
            return known.result.clone()
        runs = self._runs.get(key, 0)
        self._runs[key] = runs + 1
        if runs < _EAGER_RUNS or len(self._recorded) >= _MOST_GRAPHS:
            return step()
        want = None
        if expected is not None and not self._trusted:
            with torch.no_grad():
                want = expected().clone()
        try:
            with self._recording():
                known = _Recorded(*self._record(step))
        except Exception as error:  # drivers and libraries refuse in any way
            text = str(error).strip() or type(error).__name__
            self._give_up(f"recording failed ({text.splitlines()[0].rstrip('.')})")
            return step()
        known.replay()
        result = known.result.clone()
        if want is not None and not torch.allclose(result, want, rtol=1e-3, atol=1e-5, equal_nan=True):
            self._give_up(f"the replay gave {result.tolist()} where the step gives {want.tolist()}")
            return result
        self._trusted = True
        self._recorded[key] = known
        return result

    def _give_up(self, why: str) -> None:
        _log.warning("CUDA graphs are not used: %s.", why)
        self._record = None
        self.forget()


class CudaRecorder:
    """Records on a stream of its own; all graphs of one recorder share their memory.

    Sharing is safe because graphs are replayed one after the other, nothing that a step leaves behind lies in memory
    allocated while recording, and a result is copied before the next replay.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        with torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            torch.cuda.synchronize()
            self._stream.wait_stream(torch.cuda.current_stream())
            # Not torch.cuda.graph(), which collects garbage and empties the cache each time. Other threads may go on
            # using the card meanwhile.
            with torch.cuda.stream(self._stream):
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    result = step()
                finally:
                    graph.capture_end()
            torch.cuda.current_stream().wait_stream(self._stream)
        return graph.replay, result
