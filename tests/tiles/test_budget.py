from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from napari_emgauss import ConfigError, FitConfig, get_prior, run_fit, stack_from_array
from napari_emgauss._remedies import Door
from napari_emgauss.priors import SECONDS_PER_TRAINING_STEP, cost_of_prior
from napari_emgauss.tiles import Slowness, TileSize, advice_on_memory, cut, estimate, parse_memory, plan_tiles
from napari_emgauss.tiles._estimate import (
    CARD_BYTES,
    MODEL_COPIES,
    SECONDS_PER_NETWORK_GAUSSIAN,
    card_memory_bytes,
    gaussians,
    iteration_seconds,
    label_count,
    learning_work,
    model_bytes,
    settled_config,
    tile_memory_bytes,
    tile_work,
    whole_memory_bytes,
)

Z_NM = np.arange(40) * 40.0
SHAPE = (40, 1500, 1100)
PIXEL_NM = (8.0, 8.0)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("8GB", 8 * 10**9),
        ("500 mb", 500 * 10**6),
        ("1.5GiB", 3 * 2**29),
        ("2g", 2 * 10**9),
        ("4096", 4096),
        ("1T", 10**12),
    ],
)
def test_amounts_of_memory(text: str, count: int) -> None:
    assert parse_memory(text) == count


@pytest.mark.parametrize("text", ["", "GB", "8 GBB", "-1GB", "0", "eight"])
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(ConfigError, match="not an amount of memory"):
        parse_memory(text)


def test_without_a_budget_tiles_have_the_preferred_size(quick_config: FitConfig) -> None:
    plan = plan_tiles(SHAPE, Z_NM, PIXEL_NM, quick_config)
    assert plan.size == TileSize()
    assert plan.grid == (2, 3, 3)


@pytest.mark.parametrize(
    ("workers", "who"), [(None, "a tile at a time"), (1, "1 worker"), (2, "2 workers"), (4, "4 workers")]
)
@pytest.mark.parametrize("megabytes", [400, 600, 1000, 4000])
def test_a_plan_keeps_within_its_budget(quick_config: FitConfig, megabytes: int, workers: int | None, who: str) -> None:
    config = replace(quick_config, field="spline", pixels_per_gaussian=4.0)
    # Half a gigabyte a process, and the one that hands out tiles is one more.
    if megabytes < 500 * (workers or 0) + 500:
        with pytest.raises(ConfigError, match=f"{megabytes / 1000:.3g} GB is too little for {who}: "):
            plan_tiles(SHAPE, Z_NM, PIXEL_NM, config, memory_bytes=megabytes * 10**6, workers=workers)
        return
    plan = plan_tiles(SHAPE, Z_NM, PIXEL_NM, config, memory_bytes=megabytes * 10**6, workers=workers)
    told = estimate(plan, Z_NM, PIXEL_NM, config, workers=workers)
    assert told.memory_bytes <= megabytes * 10**6
    roomier = estimate(plan_tiles(SHAPE, Z_NM, PIXEL_NM, config, workers=workers), Z_NM, PIXEL_NM, config)
    assert told.tiles >= roomier.tiles


def test_there_are_tiles_for_all_workers(quick_config: FitConfig) -> None:
    assert len(plan_tiles((9, 500, 300), Z_NM[:9], PIXEL_NM, quick_config)) == 1
    assert len(plan_tiles((9, 500, 300), Z_NM[:9], PIXEL_NM, quick_config, workers=4)) >= 4


def test_an_estimate_by_hand(quick_config: FitConfig) -> None:
    config = replace(quick_config, pixels_per_gaussian=8.0, growth=1.0, field="spline", knots_per_gap=1)
    plan = cut((7, 140, 70), Z_NM[:7], TileSize(70, 8, 4, 2))
    told = estimate(plan, Z_NM[:7], PIXEL_NM, config, dtype="uint16", workers=2)
    assert (told.tiles, told.grid, told.tile_shape) == (6, (3, 2, 1), (4, 78, 70))
    assert told.overhead == pytest.approx((4 + 3 + 4) / 7 * (78 + 78) / 140)
    # Float32: x, y, two scales, rotation, opacity, grey; 5 deltas at each of the window's slices.
    count = round(78 * 70 / 8)
    per_window = [4 * count * (7 + 5 * slices) for slices in (4, 3, 4)]
    assert told.disk_bytes == 2 * sum(per_window)
    assert told.isotropic_bytes == 31 * 140 * 70 * 2  # 240 nm in steps of 8
    alone = estimate(plan, Z_NM[:7], PIXEL_NM, config)
    assert told.seconds == pytest.approx(alone.seconds / 2)
    slow = Slowness(3, 3, 3)
    assert estimate(plan, Z_NM[:7], PIXEL_NM, config, slowness=slow).seconds == pytest.approx(3 * alone.seconds)
    assert alone.memory_bytes == alone.tile_memory_bytes == told.tile_memory_bytes < told.memory_bytes / 2
    one = estimate(plan, Z_NM[:7], PIXEL_NM, config, workers=1)  # beside the process that hands out tiles
    assert one.memory_bytes - one.tile_memory_bytes == told.memory_bytes - 2 * told.tile_memory_bytes > 1e8
    assert one.seconds == alone.seconds


@pytest.mark.parametrize("field", ["spline", "grid", "mlp"])
def test_the_size_of_a_model_is_that_of_its_file(quick_config: FitConfig, field: str, tmp_path: object) -> None:
    config = replace(quick_config, field=field, growth=1.0, pixels_per_gaussian=10.0, mlp_width=16)
    grey = np.random.default_rng(0).integers(0, 255, (4, 50, 40), dtype=np.uint8)
    stack = stack_from_array(grey, (120, 8, 8))
    model = run_fit(stack, config)
    config = settled_config(config, stack.z_nm, stack.pixel_size_nm)
    assert config.knots_per_gap == 3
    assert model_bytes((4, 50, 40), config) == sum(parameter.nbytes for parameter in model.parameters())


def test_labels_are_counted_as_the_fit_asks_for_them(quick_config: FitConfig) -> None:
    assert label_count([0.0, 40.0, 80.0], PIXEL_NM, quick_config) == 8  # at every pixel size inside a gap
    assert label_count([0.0, 40.0, 80.0], PIXEL_NM, replace(quick_config, prior="ema")) == 0


def test_larger_tiles_and_longer_fits_take_more(quick_config: FitConfig) -> None:
    small, large = (8, 128, 128), (8, 256, 256)
    memory = [tile_memory_bytes(shape, Z_NM, PIXEL_NM, quick_config) for shape in (small, large)]
    assert memory[0] < memory[1]
    seconds = [tile_work(shape, Z_NM[:8], PIXEL_NM, quick_config).iterations_s for shape in (small, large)]
    longer = tile_work(small, Z_NM[:8], PIXEL_NM, replace(quick_config, iterations_scale=2.0)).iterations_s
    assert seconds[0] < seconds[1] and seconds[0] < longer


def test_a_thick_slice_takes_as_long_as_its_depths(quick_config: FitConfig) -> None:
    """Beyond what an iteration takes for itself: seen at two sizes of slices."""

    def for_pixels(config: FitConfig) -> float:
        small, large = (tile_work((8, side, side), Z_NM[:8], PIXEL_NM, config).iterations_s for side in (256, 512))
        return large - small

    thick = replace(quick_config, sampling="slab", slab_samples=4)
    assert for_pixels(thick) == pytest.approx(4 * for_pixels(quick_config))
    thin, memory = (tile_memory_bytes((8, 512, 512), Z_NM[:8], PIXEL_NM, one) for one in (quick_config, thick))
    assert memory > thin + 100e6


def test_a_field_that_is_a_network_takes_its_time(quick_config: FitConfig) -> None:
    """The more, the wider and deeper it is."""
    shape = (8, 256, 256)
    spline, small, paper = (
        iteration_seconds(shape, replace(quick_config, field=field, mlp_width=width))
        for field, width in (("spline", 256), ("mlp", 64), ("mlp", 256))
    )
    assert paper - spline == pytest.approx(16 * (small - spline))
    assert paper - spline == pytest.approx(SECONDS_PER_NETWORK_GAUSSIAN * gaussians(256, 256, quick_config))


def test_networks_and_iterations_are_slower_each_by_its_own(quick_config: FitConfig) -> None:
    work = tile_work((8, 64, 64), Z_NM[:8], PIXEL_NM, replace(quick_config, prior="auto:fast"), share_prior=False)
    assert min(work.learning_s, work.inferring_s, work.choosing_s, work.interpolating_s, work.iterations_s) > 0
    others = work.iterations_s + work.choosing_s + work.interpolating_s
    assert work.seconds(Slowness(2.0, 0.0, 0.0)) == pytest.approx(2 * others)
    networks = 5 * work.learning_s + 3 * work.inferring_s
    assert work.seconds(Slowness(iteration=0.0, training=5.0, inferring=3.0)) == pytest.approx(networks)
    assert work.seconds(Slowness()) == pytest.approx(work.prior_s + work.iterations_s)
    # Flow needs no network.
    flow = tile_work((8, 64, 64), Z_NM[:8], PIXEL_NM, replace(quick_config, prior="flow"))
    assert flow.learning_s == flow.inferring_s == 0 < flow.interpolating_s


def test_a_trial_on_hidden_slices_grows_with_the_stack_up_to_its_own_piece(quick_config: FitConfig) -> None:
    config, cost = replace(quick_config, prior="auto:fast"), cost_of_prior("auto:fast")

    def trial_s(slices: int, side: int) -> tuple[float, float]:
        work = learning_work((slices, side, side), config)
        assert work.learning_s == cost.learning_s
        return work.inferring_s, work.choosing_s

    network, others = cost.network_trial_gap_pixel_s, cost.trial_gap_pixel_s
    assert trial_s(11, 100) == pytest.approx((network * 10 * 100**2, others * 10 * 100**2))
    assert trial_s(101, 1000) == pytest.approx((network * 40 * 256**2, others * 40 * 256**2))


@pytest.mark.parametrize("share_prior", [True, False])
def test_a_training_that_ends_early_is_told_of(quick_config: FitConfig, share_prior: bool) -> None:
    """Of 1,500 steps 900: once where tiles share a prior, and else for each."""
    step_s = cost_of_prior("self").learning_s / 1500

    def told(prior: str) -> tuple[float, float]:
        plan = cut((7, 140, 70), Z_NM[:7], TileSize(pixels=70, halo_pixels=8))
        config = replace(quick_config, prior=prior)
        made = estimate(plan, Z_NM[:7], PIXEL_NM, config, slowness=Slowness(training=2.0), share_prior=share_prior)
        assert len(plan) == 2
        return made.seconds, made.least_seconds

    most, least = told("self")
    assert most - least == pytest.approx(2.0 * 900 * step_s * (1 if share_prior else 2))
    for always in ("self:fast", "self:best", "linear"):
        assert len(set(told(always))) == 1


@pytest.mark.parametrize("memory", [tile_memory_bytes, card_memory_bytes])
def test_every_copy_of_the_model_is_counted(quick_config: FitConfig, memory: Callable[..., int]) -> None:
    shape = (8, 128, 128)
    few, many = (
        replace(quick_config, pixels_per_gaussian=p, growth=1.0, field="spline", knots_per_gap=1) for p in (16.0, 4.0)
    )
    # Of each Gaussian seven numbers and five deltas at each of eight slices, as float32.
    more_gaussians = 128 * 128 // 4 - 128 * 128 // 16
    more = MODEL_COPIES * more_gaussians * 4 * (7 + 5 * 8)
    assert memory(shape, Z_NM, PIXEL_NM, many) - memory(shape, Z_NM, PIXEL_NM, few) == pytest.approx(more, abs=2)
    assert MODEL_COPIES >= 5  # parameters, gradients, two moments of Adam, and the teacher


def test_what_is_learned_is_counted_once_or_in_every_tile(quick_config: FitConfig) -> None:
    plan = cut((7, 140, 70), Z_NM[:7], TileSize(70, 8, 4, 2))
    config = replace(quick_config, prior="self:fast")
    shared = estimate(plan, Z_NM[:7], PIXEL_NM, config)
    each = estimate(plan, Z_NM[:7], PIXEL_NM, config, share_prior=False)
    steps = get_prior("self:fast").config.iterations
    assert shared.prior_seconds == pytest.approx(SECONDS_PER_TRAINING_STEP * steps)
    assert each.prior_seconds == 0
    assert each.seconds - shared.seconds == pytest.approx((6 - 1) * shared.prior_seconds)
    assert estimate(plan, Z_NM[:7], PIXEL_NM, quick_config).prior_seconds == 0
    longer = estimate(plan, Z_NM[:7], PIXEL_NM, replace(quick_config, prior="auto"))
    assert longer.prior_seconds > shared.prior_seconds


def test_tiles_fit_onto_the_graphics_card_too(quick_config: FitConfig) -> None:
    config = replace(quick_config, field="spline", pixels_per_gaussian=4.0)
    roomy = plan_tiles(SHAPE, Z_NM, PIXEL_NM, config)
    largest = card_memory_bytes(roomy.largest.shape, Z_NM, PIXEL_NM, config)
    assert plan_tiles(SHAPE, Z_NM, PIXEL_NM, config, card_bytes=largest) == roomy
    small = plan_tiles(SHAPE, Z_NM, PIXEL_NM, config, card_bytes=(largest + CARD_BYTES) // 2)
    assert len(small) > len(roomy)
    assert card_memory_bytes(small.largest.shape, Z_NM, PIXEL_NM, config) <= (largest + CARD_BYTES) // 2
    with pytest.raises(ConfigError, match="graphics card has too little free memory"):
        plan_tiles(SHAPE, Z_NM, PIXEL_NM, config, card_bytes=CARD_BYTES)


def test_a_stack_too_large_for_memory_is_told(quick_config: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(quick_config, device="cpu")
    needed = whole_memory_bytes(SHAPE, Z_NM, PIXEL_NM, config)
    # A whole stack ends with a look at its texture, a tile does not: 24 blocks of 256 x 256 numbers, a dozen at once.
    assert needed - tile_memory_bytes(SHAPE, Z_NM, PIXEL_NM, config) > 12 * 24 * 256**2 * 8
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=needed))
    assert advice_on_memory(SHAPE, Z_NM, PIXEL_NM, config) is None
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=needed - 1))
    advice = advice_on_memory(SHAPE, Z_NM, PIXEL_NM, config, door=Door.COMMAND_LINE)
    assert advice is not None and "fit it in tiles, for example with --memory " in advice
