from ._backends import (
    BackendChoice as BackendChoice,
    BackendStatus as BackendStatus,
    available_backends as available_backends,
    choose_backend as choose_backend,
)
from ._doctor import Finding as Finding, doctor as doctor
from ._model import EmgaussModel as EmgaussModel, load as load
from ._splat import Backend as Backend, splat as splat, warm_up as warm_up
