from ._device import (
    constant as constant,
    has_float64 as has_float64,
    has_fused_adam as has_fused_adam,
    tensor_float32 as tensor_float32,
    uploaded as uploaded,
    wide as wide,
)
from ._graphs import GraphedSteps as GraphedSteps
from ._pending import PendingLosses as PendingLosses
from ._precision import (
    fast_convolutions as fast_convolutions,
    has_fast_bfloat16 as has_fast_bfloat16,
    low_precision as low_precision,
)
from ._threads import (
    release_idle_threads as release_idle_threads,
    rendering_threads as rendering_threads,
    torch_held_back as torch_held_back,
)
