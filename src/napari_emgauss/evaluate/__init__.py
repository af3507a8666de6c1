"""Evaluation: metrics, reconstruction of left-out slices against the truth, and the hold-out score of a stack.

Names are resolved on first use: importing this package imports neither torch nor scikit-image.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._check_figure import write_check_figure
    from ._evaluate import evaluate
    from ._figure import write_figure
    from ._fsim import fsim
    from ._masks import MaskResult, evaluate_masks
    from ._methods import CLASSICAL_METHODS, method_names
    from ._metrics import Scores, compare, mean_scores, psnr, ssim
    from ._progress import EvaluationProgress
    from ._result import EvaluationResult, MethodResult
    from ._score import ScoreResult, score
    from ._thin import Thinned, read_volume, thin

_HOMES = {
    "CLASSICAL_METHODS": "_methods",
    "EvaluationProgress": "_progress",
    "EvaluationResult": "_result",
    "MaskResult": "_masks",
    "MethodResult": "_result",
    "ScoreResult": "_score",
    "Scores": "_metrics",
    "Thinned": "_thin",
    "compare": "_metrics",
    "evaluate": "_evaluate",
    "evaluate_masks": "_masks",
    "fsim": "_fsim",
    "mean_scores": "_metrics",
    "method_names": "_methods",
    "psnr": "_metrics",
    "read_volume": "_thin",
    "score": "_score",
    "ssim": "_metrics",
    "thin": "_thin",
    "write_check_figure": "_check_figure",
    "write_figure": "_figure",
}

__all__ = [
    "CLASSICAL_METHODS",
    "EvaluationProgress",
    "EvaluationResult",
    "MaskResult",
    "MethodResult",
    "ScoreResult",
    "Scores",
    "Thinned",
    "compare",
    "evaluate",
    "evaluate_masks",
    "fsim",
    "mean_scores",
    "method_names",
    "psnr",
    "read_volume",
    "score",
    "ssim",
    "thin",
    "write_check_figure",
    "write_figure",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
