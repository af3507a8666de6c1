from pathlib import Path

import pytest
import stand_in_children

from napari_emgauss import ProgressUpdate
from napari_emgauss.plugin.process._job import Job, JobCancelledError, JobDone


def test_progress_then_the_answer(tmp_path: Path) -> None:
    said = [m for m in Job(stand_in_children.job_of_ten, (str(tmp_path),), name="job").messages() if m is not None]
    assert said[0] == ProgressUpdate(0.0, "step 0")
    assert said[-1] == JobDone(10)


def test_cancel_lets_the_work_clean_up(tmp_path: Path) -> None:
    job = Job(stand_in_children.job_of_ten, (str(tmp_path),), name="job")
    with pytest.raises(JobCancelledError):
        for message in job.messages():
            if message is not None:
                assert (tmp_path / "partial").exists()
                job.cancel()
    assert not (tmp_path / "partial").exists()
    assert not job.alive


def test_a_job_that_does_not_answer_is_ended(tmp_path: Path) -> None:
    swept = []
    job = Job(stand_in_children.never_answers, (), name="job", patience_s=0.2, clean_up=lambda: swept.append(1))
    messages = job.messages()
    next(messages)
    job.cancel()
    with pytest.raises(JobCancelledError, match="did not respond"):
        list(messages)
    assert not job.alive and swept == [1]
