"""What a score and an export will take, by the same knowledge of this machine. Knows neither Qt nor napari."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ._estimate import (
    FIRST_SHARE,
    LATER_SHARE,
    LEARNED_SPREAD,
    TRIAL_SPREAD,
    FitPlan,
    PlanRequest,
    Speed,
    Work,
    learned_step,
    nearest,
    plan_fit,
    read_speed,
    spoken_range,
    write_speed,
)

Job = Literal["score", "export"]

SECONDS_PER_VOXEL = 8e-8
"""Of an export, on the machine of the benchmarks: rendering, turning into grey values, writing."""
SECONDS_OF_TEXTURE = 1.4e-7
"""Of a voxel, in the same seconds, where texture is added."""
SECONDS_PER_COMPARED_PIXEL = 3.2e-7
"""PSNR, SSIM and FSIM of a hidden slice, in the same seconds."""
START_S = 4.0
"""A process starts, loads torch and compiles."""
_LEAST_S = 5.0


def plan(request: PlanRequest) -> FitPlan:
    """What a fit or a score will take; in the rendering process, for it needs torch.

    Raises
    ------
    ConfigError
        The settings cannot work.
    """
    return plan_score(request) if request.purpose == "score" else plan_fit(request)


def plan_score(request: PlanRequest) -> FitPlan:
    """A fit to every second slice, the other methods, and the comparison of the hidden slices."""
    from napari_emgauss.evaluation import EMGAUSS, SCORED
    from napari_emgauss.priors import cost_of_prior

    shown = request.z_nm[::2]
    fit = plan_fit(replace(request, z_nm=shown, tiles="never", learned=False, purpose="fit"))
    pixels = request.height * request.width * (len(shown) - 1)
    classical = [cost_of_prior(name) for name in SCORED if name != EMGAUSS]
    others = sum(cost.learning_s + cost.label_pixel_s * pixels for cost in classical)
    compared = SECONDS_PER_COMPARED_PIXEL * pixels * len(SCORED)
    work = Work(fit.work.prior_s + others, fit.work.iterations_s + compared + START_S, fit.work.spared_s)
    return replace(fit, work=work)


def export_work(voxels: int, *, textured: bool = False) -> Work:
    """Writing so many voxels."""
    return Work(0.0, START_S + (SECONDS_PER_VOXEL + SECONDS_OF_TEXTURE * textured) * voxels)


def expected_seconds(job: Job, work: Work | None, device: str | None) -> float | None:
    """How long a job will take; None where the machine or the work is not known."""
    speed = None if device is None else read_speed(device)
    return None if work is None or speed is None else _seconds(job, work, speed)


def _seconds(job: Job, work: Work, speed: Speed, *, early: bool = False) -> float:
    return work.seconds(speed, early=early) * (speed.score if job == "score" else speed.export)


def job_sentence(job: Job, work: Work | None, device: str | None) -> str:
    """How long a job will take, for people; empty where the machine or the work is not known."""
    speed = None if device is None else read_speed(device)
    if work is None or speed is None:
        return ""
    taught = speed.scores if job == "score" else speed.exports
    spread = LEARNED_SPREAD if taught else TRIAL_SPREAD
    least, most = _seconds(job, work, speed, early=True) / spread, _seconds(job, work, speed) * spread
    return f"Estimate: {spoken_range(least, most)}."


def record_job(job: Job, work: Work | None, took_s: float, device: str | None) -> None:
    """Remember how long a finished job took beside its work."""
    speed = None if device is None else read_speed(device)
    if device is None or work is None or speed is None or took_s < _LEAST_S:
        return  # too short to say anything
    measured = [took_s / work.seconds(speed, early=early) for early in (False, True)]
    if job == "score":
        share = LATER_SHARE if speed.scores else FIRST_SHARE
        score = learned_step(speed.score, nearest(speed.score, *measured), share)
        speed = replace(speed, score=score, scores=speed.scores + 1)
    else:
        share = LATER_SHARE if speed.exports else FIRST_SHARE
        export = learned_step(speed.export, nearest(speed.export, *measured), share)
        speed = replace(speed, export=export, exports=speed.exports + 1)
    write_speed(device, speed)
