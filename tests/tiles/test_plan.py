from __future__ import annotations

import json

import numpy as np
import pytest

from napari_emgauss import ConfigError
from napari_emgauss.tiles import TilePlan, TileSize, cut

Z_NM = np.arange(12) * 40.0


def test_every_combination_of_spans_is_a_tile() -> None:
    plan = cut((12, 300, 170), Z_NM, TileSize(100, 8, 7, 2))
    assert plan.grid == (2, 3, 2)
    assert len(plan) == len(list(plan)) == 12
    assert [tile.name for tile in plan][:3] == ["z0000_y0000_x0000", "z0000_y0000_x0001", "z0000_y0001_x0000"]
    middle = plan.tile((1, 1, 0))
    assert middle.shape == (7, 100 + 16, 85 + 8)
    assert middle.region == (92, 208, 0, 93)
    assert plan.numbered(8).index == (1, 1, 0)
    assert plan.largest.shape == (7, 116, 93)


def test_overhead_is_voxels_fitted_over_voxels() -> None:
    plan = cut((12, 300, 170), Z_NM, TileSize(100, 8, 7, 2))
    assert plan.overhead == pytest.approx(sum(np.prod(tile.shape) for tile in plan) / (12 * 300 * 170))


def test_a_plan_survives_json() -> None:
    plan = cut((12, 300, 170), Z_NM, TileSize(100, 8, 7, 2))
    assert TilePlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_the_seed_of_a_tile_follows_from_its_place_and_the_seed_of_the_run() -> None:
    tiles = list(cut((12, 300, 170), Z_NM, TileSize(100, 8, 7, 2)))
    assert len({tile.seed(5) for tile in tiles}) == len(tiles)
    assert tiles[3].seed(5) == tiles[3].seed(5) != tiles[3].seed(6)
    # A larger volume has the same seeds where it has the same tiles.
    assert cut((12, 900, 170), Z_NM, TileSize(100, 8, 7, 2)).tile(tiles[3].index).seed(5) == tiles[3].seed(5)
    assert all(0 <= tile.seed(5) < 2**31 for tile in tiles)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((63, 8, 7, 2), "too small for a halo"),
        ((100, 26, 7, 2), "at least 104"),
        ((100, 0, 7, 2), "halo of tiles is 0"),
        ((100, 8, 7, 0), "by at least 1"),
        ((100, 8, 6, 3), "need at least 7"),
        ((100.0, 8, 7, 2), "whole number"),
    ],
)
def test_sizes_that_cannot_work_are_refused(arguments: tuple[int, int, int, int], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TileSize(*arguments)
