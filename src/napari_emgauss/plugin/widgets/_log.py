"""The plugin's log of this session, kept in memory for the log window. Knows neither Qt nor napari."""

from __future__ import annotations

import logging
from collections import deque

LOGGER = logging.getLogger("napari_emgauss")
LINES_KEPT = 5000


class SessionLog(logging.Handler):
    """Keeps the last records as text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        self._records: deque[str] = deque(maxlen=LINES_KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self._records.append(self.format(record))

    def text(self) -> str:
        """Everything kept."""
        return "\n".join(self._records)


_LOG = SessionLog()


def session_log() -> SessionLog:
    """The one log; listens from the first call on."""
    if _LOG not in LOGGER.handlers:
        LOGGER.addHandler(_LOG)
        if LOGGER.level == logging.NOTSET:
            LOGGER.setLevel(logging.INFO)
    return _LOG
