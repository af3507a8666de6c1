from ._auto import (
    AutoPrior as AutoPrior,
)
from ._auto import (
    AutoPriorConfig as AutoPriorConfig,
)
from ._auto import (
    choose_prior as choose_prior,
)
from ._channels import prepare_channels as prepare_channels
from ._protocol import (
    Interpolator as Interpolator,
)
from ._protocol import LearnedPart as LearnedPart
from ._protocol import LearningPrior as LearningPrior
from ._protocol import (
    Observation as Observation,
)
from ._protocol import (
    Prior as Prior,
)
from ._protocol import (
    PseudoLabel as PseudoLabel,
)
from ._protocol import (
    ResumablePrior as ResumablePrior,
)
from ._registry import FIT_ONLY as FIT_ONLY
from ._registry import PriorCost as PriorCost
from ._registry import PriorInfo as PriorInfo
from ._registry import cost_of_prior as cost_of_prior
from ._registry import device_of_prior as device_of_prior
from ._registry import get_prior as get_prior
from ._registry import prior_choices as prior_choices
from ._registry import prior_help as prior_help
from ._registry import prior_info as prior_info
from ._registry import prior_names as prior_names
from ._registry import prior_of_fit as prior_of_fit
from ._registry import priors_known as priors_known
from ._registry import register_prior as register_prior
from ._registry import unregister_prior as unregister_prior
from ._state import PriorState as PriorState
from ._state import StateEntry as StateEntry
from ._state import entries_from as entries_from
from ._state import flattened as flattened
from ._weighted import WeightedInterpolator as WeightedInterpolator
from ._weighted import WeightedPrior as WeightedPrior
from .classical._flow import (
    interpolate_ensemble as interpolate_ensemble,
)
from .classical._flow import (
    interpolate_flow as interpolate_flow,
)
from .classical._flow import (
    optical_flow as optical_flow,
)
from .classical._pixelwise import (
    blur_slices as blur_slices,
)
from .classical._pixelwise import (
    interpolate_cubic as interpolate_cubic,
)
from .classical._pixelwise import (
    interpolate_linear as interpolate_linear,
)
from .classical._pixelwise import (
    interpolate_nearest as interpolate_nearest,
)
from .classical._pixelwise import locate_gap as locate_gap
from .learned._cost import SECONDS_PER_TRAINING_STEP as SECONDS_PER_TRAINING_STEP
from .learned._network import GapNetwork as GapNetwork
from .learned._network import NetworkConfig as NetworkConfig
from .learned._self import LearnedPrior as LearnedPrior
from .learned._self import SelfPrior as SelfPrior
from .learned._self import SelfPriorConfig as SelfPriorConfig
