from ._budget import (
    advice_on_memory as advice_on_memory,
)
from ._budget import (
    free_card_bytes as free_card_bytes,
)
from ._budget import (
    parse_memory as parse_memory,
)
from ._budget import (
    plan_tiles as plan_tiles,
)
from ._budget import (
    size_within as size_within,
)
from ._copy import copy_tiles as copy_tiles
from ._estimate import (
    Estimate as Estimate,
)
from ._estimate import (
    estimate as estimate,
)
from ._estimate import (
    iteration_seconds as iteration_seconds,
)
from ._estimate import (
    learning_seconds as learning_seconds,
)
from ._estimate import (
    measure_slowness as measure_slowness,
)
from ._estimate import (
    model_bytes as model_bytes,
)
from ._estimate import (
    settled as settled,
)
from ._estimate import (
    tile_memory_bytes as tile_memory_bytes,
)
from ._estimate import (
    tile_seconds as tile_seconds,
)
from ._index import is_tiled as is_tiled
from ._index import read_index as read_index
from ._lock import exclusive as exclusive
from ._model import TiledModel as TiledModel
from ._model import load as load
from ._owned import owned_tiles as owned_tiles
from ._plan import Tile as Tile
from ._plan import TilePlan as TilePlan
from ._plan import TileSize as TileSize
from ._plan import cut as cut
from ._run import RunOptions as RunOptions
from ._run import fit_tiles as fit_tiles
from ._run import run_fit_tiles as run_fit_tiles
from ._task import TileProgress as TileProgress
from ._update import TilesUpdate as TilesUpdate
