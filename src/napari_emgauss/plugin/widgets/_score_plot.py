"""PSNR of every hidden slice, one line a method."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtWidgets import QWidget

from ._plot_widget import ThemedPlot

METHOD_COLOURS = {
    "linear": "#9aa0a6",
    "linear+blur": "#b28bd8",
    "flow+blur": "#35a7a0",
    "ensemble": "#e0a030",
    "emgauss": "#4f8ff7",
}


class ScorePlot(ThemedPlot):
    """PSNR against depth."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(viewer, bottom="depth of the hidden slice (nm)", left="PSNR (dB)", height=220, parent=parent)

    def show_result(self, result: dict[str, Any]) -> None:
        """Draw ``ScoreResult.as_dict()``."""
        self.clear()
        for name, scores in result["methods"].items():
            points = [
                (z, one["psnr"])
                for z, one in zip(result["hidden_z_nm"], scores["slices"], strict=True)
                if isinstance(one.get("psnr"), int | float) and math.isfinite(one["psnr"])
            ]
            ours = name == "emgauss"
            self.set_line(
                "EMGauss" if ours else name,
                [z for z, _ in points],
                [psnr for _, psnr in points],
                METHOD_COLOURS.get(name, "#888888"),
                width=3 if ours else 2,
                dots=True,
            )
