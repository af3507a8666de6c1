from ._backends import (
    BackendChoice as BackendChoice,
)
from ._backends import (
    BackendStatus as BackendStatus,
)
from ._backends import (
    available_backends as available_backends,
)
from ._backends import (
    choose_backend as choose_backend,
)
from ._doctor import Finding as Finding
from ._doctor import doctor as doctor
from ._model import EmgaussModel as EmgaussModel
from ._model import load as load
from ._splat import Backend as Backend
from ._splat import splat as splat
from ._splat import warm_up as warm_up
