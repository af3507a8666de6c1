from ._errors import (
    BackendError as BackendError,
    ConfigError as ConfigError,
    DepthError as DepthError,
    EmgaussError as EmgaussError,
    ExportError as ExportError,
    FitError as FitError,
    ModelFileError as ModelFileError,
    PriorError as PriorError,
    StackError as StackError,
    StackFileError as StackFileError,
    UnknownVoxelSizeError as UnknownVoxelSizeError,
    VoxelSizeError as VoxelSizeError,
)
from ._progress import Progress as Progress, ProgressUpdate as ProgressUpdate
from .evaluation import evaluate as evaluate, score as score
from .fitting import (
    FitConfig as FitConfig,
    FitUpdate as FitUpdate,
    fit as fit,
    preset as preset,
    preset_names as preset_names,
    run_fit as run_fit,
)
from .priors import get_prior as get_prior, prior_names as prior_names, register_prior as register_prior
from .render import (
    EmgaussModel as EmgaussModel,
    available_backends as available_backends,
    choose_backend as choose_backend,
    splat as splat,
)
from .stack import (
    Normalisation as Normalisation,
    PhantomConfig as PhantomConfig,
    Stack as Stack,
    read_stack as read_stack,
    register_reader as register_reader,
    sample_stack as sample_stack,
    sample_truth as sample_truth,
    stack_from_array as stack_from_array,
)
from .tiles import (
    RunOptions as RunOptions,
    TiledModel as TiledModel,
    TileSize as TileSize,
    fit_tiles as fit_tiles,
    load as load,
    run_fit_tiles as run_fit_tiles,
)
from .volume import (
    LazyVolume as LazyVolume,
    export as export,
    isotropic_depths as isotropic_depths,
    register_writer as register_writer,
)

__version__: str
