from ._errors import (
    BackendError as BackendError,
)
from ._errors import (
    ConfigError as ConfigError,
)
from ._errors import (
    DepthError as DepthError,
)
from ._errors import (
    EmgaussError as EmgaussError,
)
from ._errors import (
    ExportError as ExportError,
)
from ._errors import (
    FitError as FitError,
)
from ._errors import (
    ModelFileError as ModelFileError,
)
from ._errors import (
    PriorError as PriorError,
)
from ._errors import (
    StackError as StackError,
)
from ._errors import (
    StackFileError as StackFileError,
)
from ._errors import (
    UnknownVoxelSizeError as UnknownVoxelSizeError,
)
from ._errors import (
    VoxelSizeError as VoxelSizeError,
)
from ._progress import Progress as Progress
from ._progress import ProgressUpdate as ProgressUpdate
from .evaluation import evaluate as evaluate
from .evaluation import score as score
from .fitting import (
    FitConfig as FitConfig,
)
from .fitting import (
    FitUpdate as FitUpdate,
)
from .fitting import (
    fit as fit,
)
from .fitting import (
    preset as preset,
)
from .fitting import (
    preset_names as preset_names,
)
from .fitting import (
    run_fit as run_fit,
)
from .priors import get_prior as get_prior
from .priors import prior_names as prior_names
from .priors import register_prior as register_prior
from .render import (
    EmgaussModel as EmgaussModel,
)
from .render import (
    available_backends as available_backends,
)
from .render import (
    choose_backend as choose_backend,
)
from .render import (
    splat as splat,
)
from .stack import (
    Normalisation as Normalisation,
)
from .stack import (
    PhantomConfig as PhantomConfig,
)
from .stack import (
    Stack as Stack,
)
from .stack import (
    read_stack as read_stack,
)
from .stack import (
    register_reader as register_reader,
)
from .stack import (
    sample_stack as sample_stack,
)
from .stack import (
    sample_truth as sample_truth,
)
from .stack import (
    stack_from_array as stack_from_array,
)
from .tiles import (
    RunOptions as RunOptions,
)
from .tiles import (
    TiledModel as TiledModel,
)
from .tiles import (
    TileSize as TileSize,
)
from .tiles import (
    fit_tiles as fit_tiles,
)
from .tiles import (
    load as load,
)
from .tiles import (
    run_fit_tiles as run_fit_tiles,
)
from .volume import LazyVolume as LazyVolume
from .volume import export as export
from .volume import isotropic_depths as isotropic_depths
from .volume import register_writer as register_writer

__version__: str
