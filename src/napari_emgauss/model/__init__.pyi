from ._agreement import (
    ROOMY_PIXELS as ROOMY_PIXELS,
)
from ._agreement import (
    check_confidence as check_confidence,
)
from ._agreement import (
    check_geometry as check_geometry,
)
from ._agreement import (
    check_grey_values as check_grey_values,
)
from ._agreement import (
    check_header as check_header,
)
from ._agreement import (
    check_parameters as check_parameters,
)
from ._agreement import (
    fewest_gaussians as fewest_gaussians,
)
from ._confidence import (
    PLANES_PER_GAP as PLANES_PER_GAP,
)
from ._confidence import (
    Confidence as Confidence,
)
from ._confidence import (
    chosen_depths as chosen_depths,
)
from ._confidence import (
    coarse_confidence as coarse_confidence,
)
from ._config import FieldName as FieldName
from ._config import ModelConfig as ModelConfig
from ._file import (
    MODEL_FORMAT as MODEL_FORMAT,
)
from ._file import (
    MODEL_FORMAT_VERSION as MODEL_FORMAT_VERSION,
)
from ._file import (
    parse_json as parse_json,
)
from ._file import (
    read_tensors as read_tensors,
)
from ._file import (
    stored_format as stored_format,
)
from ._file import (
    write_bytes as write_bytes,
)
from ._file import (
    write_tensors as write_tensors,
)
from ._gaussians import GaussianCloud as GaussianCloud
from ._gaussians import GaussianModel as GaussianModel
from ._gaussians import Splats as Splats
