"""A prior at work in a thread: the caller keeps none of torch's threads meanwhile."""

from __future__ import annotations

import subprocess
import sys

import pytest

WAITING = """
import os, threading, time
import torch
from napari_emgauss.fitting import Background

def threads(expected):
    # How many there are, once those that are ending have ended.
    patience = time.monotonic() + 30
    while (there := len(os.listdir("/proc/self/task"))) != expected and time.monotonic() < patience:
        time.sleep(0.01)
    return there

def spread():
    torch.rand(2_000_000).exp()

torch.set_num_threads(4)
alone = len(os.listdir("/proc/self/task"))
spread()
assert threads(alone + 3) == alone + 3, "torch keeps its threads"
go_on = threading.Event()

def work(report):
    while not go_on.wait(0.001):
        report("at work")
    return torch.get_num_threads()

background = Background(work)
told = background.messages(0.001)
next(told)
assert threads(alone + 1) == alone + 1
spread()  # as a preview may
assert threads(alone + 4) == alone + 4
next(told)
assert threads(alone + 1) == alone + 1
go_on.set()
list(told)
assert background.result == 4
spread()
assert threads(alone + 3) == alone + 3, "and they are back for the next one"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch's threads do not hinder each other")
def test_threads_that_wait_for_the_caller_end_while_it_waits() -> None:
    subprocess.run([sys.executable, "-c", WAITING], check=True)
