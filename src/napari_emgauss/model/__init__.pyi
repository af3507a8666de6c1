from ._agreement import (
    ROOMY_PIXELS as ROOMY_PIXELS,
    check_confidence as check_confidence,
    check_geometry as check_geometry,
    check_grey_values as check_grey_values,
    check_header as check_header,
    check_parameters as check_parameters,
    fewest_gaussians as fewest_gaussians,
)
from ._confidence import (
    PLANES_PER_GAP as PLANES_PER_GAP,
    Confidence as Confidence,
    block_means as block_means,
    chosen_depths as chosen_depths,
    coarse_confidence as coarse_confidence,
    coarse_size as coarse_size,
)
from ._config import FieldName as FieldName, ModelConfig as ModelConfig
from ._error_bars import (
    ERROR_BARS as ERROR_BARS,
    ErrorBars as ErrorBars,
    check_error_bars as check_error_bars,
    error_bars as error_bars,
)
from ._file import (
    MODEL_FORMAT as MODEL_FORMAT,
    MODEL_FORMAT_VERSION as MODEL_FORMAT_VERSION,
    holds_tensor as holds_tensor,
    parse_json as parse_json,
    read_tensors as read_tensors,
    stored_format as stored_format,
    write_bytes as write_bytes,
    write_tensors as write_tensors,
)
from ._gaussians import GaussianCloud as GaussianCloud, GaussianModel as GaussianModel, Splats as Splats
from ._thickness import Thickness as Thickness
