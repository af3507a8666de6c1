from ._auto import (
    AutoPrior as AutoPrior,
    AutoPriorConfig as AutoPriorConfig,
    choose_prior as choose_prior,
)
from ._channels import prepare_channels as prepare_channels
from ._error_law import BANDS as BANDS, ErrorLaw as ErrorLaw
from ._error_trial import (
    confidence_at as confidence_at,
    error_laws as error_laws,
    hidden_law as hidden_law,
    place_in_gap as place_in_gap,
)
from ._hidden_slices import HiddenSlices as HiddenSlices, hide_slices as hide_slices
from ._info import PriorCost as PriorCost, PriorInfo as PriorInfo
from ._protocol import (
    Interpolator as Interpolator,
    LearnedPart as LearnedPart,
    LearningPrior as LearningPrior,
    Observation as Observation,
    Prior as Prior,
    PseudoLabel as PseudoLabel,
    ResumablePrior as ResumablePrior,
)
from ._registry import (
    cost_of_prior as cost_of_prior,
    device_of_prior as device_of_prior,
    get_prior as get_prior,
    prior_choices as prior_choices,
    prior_help as prior_help,
    prior_info as prior_info,
    prior_names as prior_names,
    prior_of_fit as prior_of_fit,
    priors_known as priors_known,
    register_prior as register_prior,
    unregister_prior as unregister_prior,
)
from ._rows import FIT_ONLY as FIT_ONLY
from ._state import (
    PriorState as PriorState,
    StateEntry as StateEntry,
    state_from_tensors as state_from_tensors,
    state_to_tensors as state_to_tensors,
)
from ._weighted import WeightedInterpolator as WeightedInterpolator, WeightedPrior as WeightedPrior
from .classical._flow import (
    interpolate_ensemble as interpolate_ensemble,
    interpolate_flow as interpolate_flow,
    optical_flow as optical_flow,
)
from .classical._pixelwise import (
    blur_slices as blur_slices,
    interpolate_cubic as interpolate_cubic,
    interpolate_linear as interpolate_linear,
    interpolate_nearest as interpolate_nearest,
    locate_gap as locate_gap,
)
from .learned._cost import (
    SECONDS_PER_TRAINING_STEP as SECONDS_PER_TRAINING_STEP,
    cost_of_learning as cost_of_learning,
)
from .learned._learned_prior import LearnedPrior as LearnedPrior
from .learned._network import GapNetwork as GapNetwork, NetworkConfig as NetworkConfig
from .learned._self import SelfPrior as SelfPrior
from .learned._self_config import SelfPriorConfig as SelfPriorConfig
