import platform
import subprocess
import sys
import time
from typing import Any

import pytest
import stand_in_children

from napari_emgauss.plugin.process._problem import ChildFailedError
from napari_emgauss.plugin.process._process import ChildProcess, hidden_main
from napari_emgauss.plugin.process._shared_array import SharedArray


def _last_words(target: Any) -> ChildFailedError:
    child = ChildProcess(target, (None, None, ""), name="fit")
    child.start()
    try:
        with pytest.raises(ChildFailedError) as failure:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                child.poll(0.1)
    finally:
        child.close()
    assert not child.alive
    return failure.value


def test_typed_errors_pass_their_sentence_on_and_keep_the_traceback() -> None:
    error = _last_words(stand_in_children.fails_as_expected)
    assert str(error) == "The loss is no number any more: lower the learning rates."
    assert "Traceback" in error.details


def test_surprises_become_one_sentence() -> None:
    error = _last_words(stand_in_children.fails_by_surprise)
    assert str(error) == "Something went wrong (ZeroDivisionError: division by zero); the log has the details."


def test_lack_of_memory_says_what_to_do() -> None:
    assert "choose a smaller region" in str(_last_words(stand_in_children.runs_out_of_memory))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_child_is_told_at_once() -> None:
    error = _last_words(stand_in_children.is_killed)
    assert "ended from outside (exit code -9)" in str(error)


def test_close_ends_a_child_that_does_not_answer() -> None:
    child = ChildProcess(stand_in_children.never_answers, (), name="fit")
    child.start()
    assert child.alive
    child.close(wait_s=0.1)
    assert not child.alive


def test_a_child_that_was_stopped_before_does_not_start() -> None:
    child = ChildProcess(stand_in_children.never_answers, (), name="fit")
    child.stop()
    assert child.start() is False
    assert not child.alive


def test_the_users_script_is_hidden_and_comes_back() -> None:
    main = sys.modules["__main__"]
    before = dict(vars(main))
    with hidden_main():
        assert not hasattr(main, "__file__") and main.__spec__ is None
    assert vars(main) == before


def test_shared_array_is_one_memory() -> None:
    shared = SharedArray.empty((2, 3, 5), ">u2")
    shared.array()[1, 2, 4] = 513
    assert shared.array()[1, 2, 4] == 513 and shared.array().dtype.str == ">u2"
    assert shared.array().sum() == 513


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again_without_asking_the_system() -> None:
    script = """
import resource, sys
import numpy as np
from napari_emgauss.plugin.process._sharing import keep_freed_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        arrays = [np.ones(1 << 20, np.uint8) for _ in range(8)]
        del arrays
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20

keep_freed_memory()
pages()
print(pages())
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert float(answer.stdout) < 100  # of 2,048
