from ._budget import (
    advice_on_memory as advice_on_memory,
    free_card_bytes as free_card_bytes,
    parse_memory as parse_memory,
    plan_tiles as plan_tiles,
    size_within as size_within,
)
from ._copy import copy_tiles as copy_tiles
from ._estimate import (
    STARTING_S as STARTING_S,
    Estimate as Estimate,
    Slowness as Slowness,
    Work as Work,
    estimate as estimate,
    model_bytes as model_bytes,
    settled_config as settled_config,
    tile_work as tile_work,
    whole_memory_bytes as whole_memory_bytes,
)
from ._index import is_tiled as is_tiled, read_index as read_index
from ._lock import run_lock as run_lock
from ._model import TiledModel as TiledModel, load as load
from ._options import RunOptions as RunOptions
from ._owned import owned_tiles as owned_tiles
from ._plan import Tile as Tile, TilePlan as TilePlan, TileSize as TileSize, cut as cut
from ._run import fit_tiles as fit_tiles, run_fit_tiles as run_fit_tiles
from ._slowness import measure_slowness as measure_slowness
from ._task import TileProgress as TileProgress
from ._update import TilesUpdate as TilesUpdate
