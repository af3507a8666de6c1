from ._background import Background as Background
from ._checkpoint import CHECKPOINT_FORMAT as CHECKPOINT_FORMAT
from ._config import FitConfig as FitConfig
from ._fit import fit as fit, run_fit as run_fit
from ._labels import label_depths as label_depths
from ._presets import (
    PresetInfo as PresetInfo,
    preset as preset,
    preset_info as preset_info,
    preset_names as preset_names,
)
from ._update import FitUpdate as FitUpdate
