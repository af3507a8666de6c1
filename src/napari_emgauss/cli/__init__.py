"""The ``emgauss`` command: one sub-command per task, one module per group of tasks.

Only :func:`main` is public. Handlers import what they need when they run, so that ``emgauss --help`` answers at once.
"""

from __future__ import annotations

from napari_emgauss.cli._main import build_parser, main

__all__ = ["build_parser", "main"]
