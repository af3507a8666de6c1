"""The measure of seams in benchmarks/_seams.py: it must see a seam, and not what lies under one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from napari_emgauss.tiles import TileSize, cut

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks/ is part of the repository only")

SHIFT = 40
Z_NM = np.arange(5) * 40.0


@pytest.fixture(scope="module")
def measure():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import _seams

        yield _seams
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def plans():
    """Tiles of a volume of 140 x 150 pixels, and of the part of it that begins at pixel (40, 40)."""
    size = TileSize(pixels=80, halo_pixels=8)
    return cut((5, 140, 150), Z_NM, size), cut((5, 140 - SHIFT, 150 - SHIFT), Z_NM, size)


def pictures():
    """Rough tissue around the borders of the first tiling, smooth elsewhere."""
    images = np.random.default_rng(0).normal(100, 5, (4, 140, 150))
    images[:, 69:71] = np.random.default_rng(1).normal(100, 15, (4, 2, 150))
    images[:, :, 74:76] = np.random.default_rng(2).normal(100, 15, (4, 140, 2))
    return images


def test_lines_lie_where_tiles_meet(measure, plans):
    rows, columns = measure.borders(plans[0])
    assert (rows.tolist(), columns.tolist()) == ([70], [75])
    rows, columns = measure.borders(plans[1], SHIFT)
    assert (rows.tolist(), columns.tolist()) == ([90], [95])
    rows, columns = measure.fades(plans[0])
    assert rows.tolist() == list(range(64, 77))
    rows, columns = measure.without(measure.fades(plans[0]), measure.fades(plans[1], 30))
    assert rows.tolist() == list(range(64, 74))


def test_rough_tissue_on_a_border_is_no_seam(measure, plans):
    images = pictures()
    part = images[:, SHIFT:, SHIFT:]
    lines = [measure.borders(plans[0]), measure.borders(plans[1], SHIFT)]
    assert measure.jump_ratio(images, plans[0]) > 2
    assert measure.seam_ratio([(part, part, lines[0]), (part, part, lines[1])], SHIFT) == 1


@pytest.mark.parametrize("seamed", [0, 1])
def test_a_step_on_a_border_is_a_seam(measure, plans, seamed):
    part = pictures()[:, SHIFT:, SHIFT:]
    lines = [measure.borders(plans[0]), measure.borders(plans[1], SHIFT)]
    tilings = [part.copy(), part.copy()]
    column = lines[seamed][1][0] - SHIFT
    tilings[seamed][:, :, column:] += 40
    ratio = measure.seam_ratio([(tilings[0], tilings[1], lines[0]), (tilings[1], tilings[0], lines[1])], SHIFT)
    assert ratio > 1.3
    tilings[seamed] = part.copy()
    tilings[seamed][:, :, column + 3 :] += 40  # a step elsewhere is none
    ratio = measure.seam_ratio([(tilings[0], tilings[1], lines[0]), (tilings[1], tilings[0], lines[1])], SHIFT)
    assert ratio == pytest.approx(1, abs=1e-6)


def test_steps_in_depth_where_windows_meet(measure):
    plan = cut((9, 70, 80), np.arange(9) * 40.0, TileSize(window_slices=6, overlap_slices=2))
    depths = np.arange(0.0, 321.0, 10.0)
    images = np.zeros((len(depths), 3, 4)) + 2 * np.arange(len(depths))[:, None, None]
    fade = plan.slices[1].fade_in
    images[depths > (fade[0] + fade[1]) / 2] += 8
    near, elsewhere = measure.depth_steps(images, depths, plan)
    assert elsewhere == 2
    assert near > 3
