"""PSNR of every hidden slice, one line a method."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtWidgets import QWidget

from napari_emgauss.evaluation import EMGAUSS, method_colours, method_label

from ._plot_widget import ThemedPlot


class ScorePlot(ThemedPlot):
    """PSNR against depth."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(viewer, bottom="depth of the hidden slice (nm)", left="PSNR (dB)", height=220, parent=parent)

    def show_result(self, result: dict[str, Any]) -> None:
        """Draw ``ScoreResult.as_dict()``."""
        self.clear()
        colours = method_colours(result["methods"])
        for name, scores in result["methods"].items():
            points = [
                (z, one["psnr"])
                for z, one in zip(result["hidden_z_nm"], scores["slices"], strict=True)
                if isinstance(one.get("psnr"), int | float) and math.isfinite(one["psnr"])
            ]
            ours = name == EMGAUSS
            self.set_line(
                method_label(name),
                [z for z, _ in points],
                [psnr for _, psnr in points],
                colours[name],
                width=3 if ours else 2,
                dots=True,
            )
