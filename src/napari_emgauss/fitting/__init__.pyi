from ._background import Background as Background
from ._config import FitConfig as FitConfig
from ._fit import fit as fit
from ._fit import run_fit as run_fit
from ._labels import label_depths as label_depths
from ._presets import preset as preset
from ._presets import preset_names as preset_names
from ._update import FitUpdate as FitUpdate
