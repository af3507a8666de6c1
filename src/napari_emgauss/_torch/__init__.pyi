from ._device import (
    constant as constant,
)
from ._device import (
    has_float64 as has_float64,
)
from ._device import (
    has_fused_adam as has_fused_adam,
)
from ._device import (
    tensor_float32 as tensor_float32,
)
from ._device import (
    uploaded as uploaded,
)
from ._device import (
    wide as wide,
)
from ._graphs import GraphedSteps as GraphedSteps
from ._pending import PendingLosses as PendingLosses
from ._precision import (
    fast_convolutions as fast_convolutions,
)
from ._precision import (
    has_fast_bfloat16 as has_fast_bfloat16,
)
from ._precision import (
    low_precision as low_precision,
)
