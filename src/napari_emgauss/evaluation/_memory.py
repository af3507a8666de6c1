"""Peak memory of the process while something runs."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

SAMPLE_SECONDS = 0.02


class PeakMemory:
    """Watches the resident memory of this process from a thread; for use in a ``with`` block.

    Attributes
    ----------
    peak_mb : float or None
        Highest resident memory seen, MiB; None where psutil is not installed.
    gpu_peak_mb : float or None
        Highest memory that torch held on the GPU, MiB; None without one.
    """

    def __init__(self) -> None:
        self.peak_mb: float | None = None
        self.gpu_peak_mb: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        try:
            import psutil
        except ImportError:
            return self
        process = psutil.Process()

        def watch() -> None:
            while True:
                self.peak_mb = max(self.peak_mb or 0.0, process.memory_info().rss / 2**20)
                if self._stop.wait(SAMPLE_SECONDS):
                    return

        self._thread = threading.Thread(target=watch, name="emgauss-memory", daemon=True)
        self._thread.start()
        if (cuda := _cuda_in_use()) is not None:
            cuda.reset_peak_memory_stats()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if (cuda := _cuda_in_use()) is not None:
            self.gpu_peak_mb = cuda.max_memory_allocated() / 2**20


def _cuda_in_use():  # type: ignore[no-untyped-def]  # torch is not imported for the sake of a type
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return torch.cuda
