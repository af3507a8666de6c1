"""Recorded steps: when they are recorded, trusted only after a look, and that a failure changes nothing."""

from __future__ import annotations

import contextlib
import logging

import pytest
import torch

from napari_emgauss._torch import _graphs
from napari_emgauss._torch._graphs import CudaRecorder, GraphedSteps


class Recording:
    """A recorder whose replay does the step again, or something else."""

    def __init__(self, *, fails=False, wrong=0.0):
        self.fails, self.wrong = fails, wrong
        self.recorded = 0
        self.replayed = 0

    def __call__(self, step):
        self.recorded += 1
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nlong trace")
        result = torch.zeros(())

        def replay():
            self.replayed += 1
            result.copy_(step() + self.wrong)

        return replay, result


def counter(start=0.0):
    state = torch.tensor(start)

    def step():
        state.add_(1.0)
        return state.clone()

    return state, step


def test_a_step_is_recorded_the_third_time_and_replayed_from_then_on():
    recorder = Recording()
    steps = GraphedSteps(recorder)
    state, step = counter()
    results = [steps.run("a", step, lambda: state + 1) for _ in range(6)]
    assert [float(r) for r in results] == [1, 2, 3, 4, 5, 6]
    assert (recorder.recorded, recorder.replayed) == (1, 4)
    steps.run("b", step)
    assert recorder.recorded == 1
    assert steps.active


def test_results_are_copies():
    steps = GraphedSteps(Recording())
    _, step = counter()
    results = [steps.run("a", step) for _ in range(5)]
    assert len({r.data_ptr() for r in results}) == 5


def test_steps_without_a_key_or_a_recorder_run_as_they_are():
    recorder = Recording()
    for steps, key in ((GraphedSteps(recorder), None), (GraphedSteps(None), "a")):
        _, step = counter()
        assert [float(steps.run(key, step)) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert recorder.recorded == 0
    assert not GraphedSteps(None).active


def test_a_recording_that_fails_is_one_line_and_the_step_is_done(caplog):
    recorder = Recording(fails=True)
    left = []

    @contextlib.contextmanager
    def recording():
        try:
            yield
        finally:
            left.append(True)

    steps = GraphedSteps(recorder, recording)
    _, step = counter()
    with caplog.at_level(logging.WARNING):
        assert [float(steps.run("a", step)) for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    assert recorder.recorded == 1 and left == [True]
    assert not steps.active
    (record,) = caplog.records
    assert record.getMessage() == (
        "CUDA graphs are not used: recording failed (operation not permitted when stream is capturing)."
    )


def test_a_replay_that_gives_something_else_is_not_used_again(caplog):
    recorder = Recording(wrong=0.5)
    steps = GraphedSteps(recorder)
    state, step = counter()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            steps.run("a", step, lambda: state + 1)
    assert (recorder.recorded, recorder.replayed) == (1, 1)
    assert "3.5 where the step gives 3.0" in caplog.text
    assert not steps.active


def test_forgotten_steps_are_recorded_anew():
    recorder = Recording()
    steps = GraphedSteps(recorder)
    _, step = counter()
    for _ in range(4):
        steps.run("a", step)
    steps.forget()
    for _ in range(4):
        steps.run("a", step)
    assert (recorder.recorded, recorder.replayed) == (2, 4)


def test_graphs_are_used_on_a_card_where_asked_for(monkeypatch):
    card = torch.device("cuda", 0)
    monkeypatch.delenv("EMGAUSS_CUDA_GRAPHS", raising=False)
    assert not _graphs.wanted(card)
    monkeypatch.setenv("EMGAUSS_CUDA_GRAPHS", "1")
    assert _graphs.wanted(card)
    assert not _graphs.wanted(torch.device("cpu"))
    assert not GraphedSteps.on(torch.device("cpu")).active


class PretendCuda:
    """What a recorder calls of ``torch.cuda``, in order."""

    def __init__(self, monkeypatch):
        self.calls = calls = []

        class Stream:
            def __init__(self, name):
                self.name = name

            def wait_stream(self, other):
                calls.append(f"{self.name} waits for {other.name}")

        class Graph:
            def capture_begin(self, pool, capture_error_mode):
                calls.append(f"begin {pool} {capture_error_mode}")

            def capture_end(self):
                calls.append("end")

            def replay(self):
                calls.append("replay")

        @contextlib.contextmanager
        def stream(other):
            calls.append(f"on {other.name}")
            yield
            calls.append(f"off {other.name}")

        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side"))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("main"))
        monkeypatch.setattr(torch.cuda, "stream", stream)
        monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("synchronize"))
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)


def test_a_card_records_on_a_stream_of_its_own(monkeypatch):
    cuda = PretendCuda(monkeypatch)
    replay, result = CudaRecorder(torch.device("cuda", 0))(lambda: torch.ones(()))
    replay()
    assert float(result) == 1
    assert cuda.calls == [
        "synchronize",
        "side waits for main",
        "on side",
        "begin pool thread_local",
        "end",
        "off side",
        "main waits for side",
        "replay",
    ]


def test_a_recording_is_ended_when_the_step_fails(monkeypatch):
    cuda = PretendCuda(monkeypatch)

    def step():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        CudaRecorder(torch.device("cuda", 0))(step)
    assert "end" in cuda.calls
