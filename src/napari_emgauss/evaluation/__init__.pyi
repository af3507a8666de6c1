from ._check_figure import write_check_figure as write_check_figure
from ._coverage import (
    Coverage as Coverage,
    CoverageGroup as CoverageGroup,
    coverage_of as coverage_of,
    measured_coverage as measured_coverage,
)
from ._evaluate import evaluate as evaluate
from ._figure import check_figure as check_figure, write_figure as write_figure
from ._intervals import Estimate as Estimate, mean_over_slices as mean_over_slices
from ._lpips import Lpips as Lpips
from ._masks import MaskResult as MaskResult, evaluate_masks as evaluate_masks
from ._methods import (
    BASELINE as BASELINE,
    EMGAUSS as EMGAUSS,
    SCORED as SCORED,
    Method as Method,
    MethodBars as MethodBars,
    Reconstructed as Reconstructed,
    check_methods as check_methods,
    classical_methods as classical_methods,
    method_colours as method_colours,
    method_label as method_label,
    method_names as method_names,
    methods as methods,
    methods_help as methods_help,
    reconstruction as reconstruction,
    register_method as register_method,
)
from ._metric_rows import METRICS as METRICS, Metric as Metric, metric_row as metric_row
from ._metrics import (
    Scores as Scores,
    compare as compare,
    fsim as fsim,
    mean_scores as mean_scores,
    psnr as psnr,
    ssim as ssim,
)
from ._perceptual import gmsd as gmsd, haarpsi as haarpsi
from ._resolution import (
    CRITERIA as CRITERIA,
    Resolution as Resolution,
    resolution_text as resolution_text,
    ring_sums as ring_sums,
)
from ._result import EvaluationResult as EvaluationResult, MethodResult as MethodResult
from ._score import MIN_SLICES as MIN_SLICES, ScoreResult as ScoreResult, score as score
from ._segments import SegmentResult as SegmentResult, evaluate_labels as evaluate_labels
from ._thin import Thinned as Thinned, read_volume as read_volume, thin as thin
from ._verdict import MEASURES as MEASURES, Advice as Advice, Measure as Measure
from ._worst import WorstSlice as WorstSlice, as_grey as as_grey, png_bytes as png_bytes
