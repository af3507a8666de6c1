import pytest

from napari_emgauss.plugin.process import _estimate_jobs as jobs
from napari_emgauss.plugin.process._estimate import (
    FitPlan,
    PlanRequest,
    Speed,
    Work,
    plan_fit,
    read_speed,
    record_fit,
    spoken_range,
    time_range,
    write_speed,
)
from napari_emgauss.plugin.process._job import Job, JobDone
from napari_emgauss.plugin.process._speed_child import measure_speed_in_child


def _request(**changes: object) -> PlanRequest:
    fields = {
        "z_nm": tuple(40.0 * k for k in range(9)),
        "height": 256,
        "width": 320,
        "pixel_size_nm": (4.0, 5.0),
        "preset": "default",
        "overrides": {},
        "dtype": "uint8",
        "available_bytes": 8 * 10**9,
    }
    return PlanRequest(**{**fields, **changes})


def test_larger_stacks_and_longer_fits_take_more() -> None:
    small, large = plan_fit(_request()), plan_fit(_request(height=1024))
    assert large.work.iterations_s > 2 * small.work.iterations_s and large.memory_bytes > small.memory_bytes
    half = plan_fit(_request(overrides={"iterations_scale": 0.5}))
    assert half.work.iterations_s == pytest.approx(small.work.iterations_s / 2, rel=0.01)
    # What is learned beforehand counts, too.
    assert small.work.prior_s > plan_fit(_request(overrides={"prior": "linear"})).work.prior_s


def test_a_fit_too_large_for_memory_is_cut_or_refused() -> None:
    tight = {"height": 2048, "width": 2048, "available_bytes": 2 * 10**9}
    plan = plan_fit(_request(**tight))
    assert plan.tiles is not None and plan.tile_count > 1 and plan.memory_bytes <= 2 * 10**9
    assert f"In {plan.tile_count} tiles (1 × " in plan.sentence(None) and "GB disk" in plan.sentence(None)
    refused = plan_fit(_request(**tight, tiles="never"))
    assert refused.tiles is None and "2.0 GB are free: fit it in tiles" in refused.problem
    assert plan_fit(_request(tiles="always")).tiles is not None
    assert "too little" in plan_fit(_request(available_bytes=10**8)).problem


def test_time_is_told_as_what_is_known_of_it() -> None:
    assert time_range(Work(0, 300), Speed(1, 1)) == "3 to 8 min"
    assert time_range(Work(0, 300), Speed(1, 1, fits=1)) == "4 to 6 min"
    assert time_range(Work(0, 60), Speed(1, 1)) == "1 to 2 min"
    assert time_range(Work(0, 3 * 3600), Speed(1, 1)) == "2 to 5 hours"
    # Two thirds of the prior may be spared: 200 s over 1.25, or 400 s times 1.25.
    assert time_range(Work(300, 100, spared_s=200), Speed(1, 1, fits=1)) == "3 to 8 min"
    assert spoken_range(65 * 60, 102 * 60) == "1 to 1¾ hours"
    assert spoken_range(12, 31) == "10 to 30 s" and spoken_range(60, 60) == "about 60 s"
    assert spoken_range(1800, 5500) == "½ to 1½ hours" and spoken_range(60 * 3600, 80 * 3600) == "2½ to 3¼ days"
    plan = FitPlan(Work(100, 200), 3 * 10**9, None)
    assert plan.sentence(Speed(2, 1, fits=1)) == "Estimate: 7 to 10 min, 3.0 GB memory."
    assert plan.sentence(None) == "Estimate: 3.0 GB memory."


def test_what_a_fit_took_corrects_the_next_estimate() -> None:
    write_speed("cuda:0", Speed(1.0, 1.0))
    record_fit(Work(50, 100), 50 * 1.21, 100 * 1.44, "cuda:1")  # half of the way after the trial alone
    learned = read_speed("cuda:0")
    assert (learned.iteration, learned.prior, learned.fits) == (pytest.approx(1.2), pytest.approx(1.1), 1)
    record_fit(Work(50, 100), 55.0, 1.2 * 1.331 * 100, "cuda:0")  # later a third
    learned = read_speed("cuda:0")
    assert (learned.iteration, learned.prior, learned.fits) == (pytest.approx(1.32), pytest.approx(1.1), 2)
    record_fit(Work(50, 100), 1.0, 2.0, "cuda:0")  # too short to say anything
    assert read_speed("cuda:0") == learned
    assert read_speed("mps") is None


@pytest.mark.parametrize(("prior_s", "learned"), [(50 * 1.21, 1.1), (20 * 1.21, 1.1), (20 * 0.81, 0.9)])
def test_a_training_that_ended_early_does_not_make_the_machine_faster(prior_s: float, learned: float) -> None:
    """Of 50 s of the prior 30 are not taken where a long training does not pay."""
    write_speed("cpu", Speed(1.0, 1.0))
    record_fit(Work(50, 100, spared_s=30), prior_s, 100.0, "cpu")
    assert read_speed("cpu").prior == pytest.approx(learned)


def test_what_has_been_learned_is_not_learned_again() -> None:
    anew, again = plan_fit(_request()), plan_fit(_request(learned=True))
    assert again.work.iterations_s == anew.work.iterations_s and 0 < again.work.prior_s < 0.1 * anew.work.prior_s


def test_a_score_is_a_fit_to_every_second_slice_and_more() -> None:
    score = jobs.plan(_request(purpose="score")).work
    fit = jobs.plan(_request(z_nm=tuple(80.0 * k for k in range(5)))).work
    assert fit.prior_s < score.prior_s < 1.5 * fit.prior_s
    assert fit.iterations_s < score.iterations_s < 2 * fit.iterations_s


def test_scores_and_exports_are_told_and_learned_from() -> None:
    work = jobs.export_work(50_000_000)
    assert work == Work(0.0, 8.0)
    assert jobs.job_sentence("export", work, "mps") == "" and jobs.job_sentence("export", None, "cpu") == ""
    write_speed("cpu", Speed(2.0, 1.0))
    assert jobs.job_sentence("export", work, "cpu") == "Estimate: 10 to 25 s."  # 16 s, 1.6 times less or more
    jobs.record_job("export", work, 32.0, "cpu")
    assert read_speed("cpu") == Speed(2.0, 1.0, export=pytest.approx(2**0.5), exports=1)
    assert jobs.job_sentence("export", work, "cpu") == "Estimate: 20 to 30 s."  # 22.6 s, 1.25 times less or more
    assert jobs.expected_seconds("score", work, "cpu") == 16.0  # scores have taught nothing yet
    jobs.record_job("score", work, 2.0, "cpu")  # too short to say anything
    record_fit(Work(50, 100), 50.0, 200.0, "cpu")
    assert read_speed("cpu") == Speed(2.0, 1.0, 1, export=pytest.approx(2**0.5), exports=1)


def test_one_slow_fit_does_not_double_later_estimates() -> None:
    for fits in (0, 3):
        write_speed("cpu", Speed(1.0, 1.0, fits))
        record_fit(Work(50, 100), 50 * 40, 100 * 40, "cpu")  # the machine was busy with something else
        assert read_speed("cpu").iteration < 1.5 and read_speed("cpu").prior < 1.5


def test_the_trial_runs_in_a_child_and_answers_with_a_speed() -> None:
    job = Job(measure_speed_in_child, ("cpu",), name="speed")
    (speed,) = (message.result for message in job.messages() if isinstance(message, JobDone))
    assert isinstance(speed, Speed)
    assert speed.iteration > 0 and speed.prior > 0 and speed.fits == 0
