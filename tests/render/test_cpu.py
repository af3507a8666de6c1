"""What only the CPU renderer promises: the same numbers on any number of threads, from any number of threads."""

from __future__ import annotations

import os
import threading

import pytest
import torch

from napari_emgauss._torch import rendering_threads, torch_held_back
from napari_emgauss.render import _cpu, splat, warm_up


def image_and_gradients(cloud):
    inputs = cloud.inputs(torch.float32)
    image = splat(*inputs[:4], cloud.size, background=inputs[4], backend="cpu")
    image.square().sum().backward()
    return [image.detach(), *(v.grad for v in inputs)]


def test_torch_is_held_back_on_small_pictures_and_the_renderer_is_not():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        for pixels, torchs in ((1000, 1), (2**18 - 1, 1), (3 * 2**18, 3), (2**22, 4)):
            with torch_held_back(pixels):
                assert (torch.get_num_threads(), rendering_threads()) == (torchs, 4)
            assert (torch.get_num_threads(), rendering_threads()) == (4, 4)
        with pytest.raises(KeyError), torch_held_back(1):
            raise KeyError
        assert (torch.get_num_threads(), rendering_threads()) == (4, 4)
    finally:
        torch.set_num_threads(threads)


def test_what_torch_is_held_back_for_changes_no_bit(dense, monkeypatch):
    """The kernels are spread over all threads, and sums come out in the same order."""
    expected, spread = image_and_gradients(dense), []
    threads = torch.get_num_threads()
    submit = _cpu._pool.submit
    monkeypatch.setattr(_cpu._pool, "submit", lambda work: spread.append(1) or submit(work))
    try:
        torch.set_num_threads(2)
        with torch_held_back(1):
            found = image_and_gradients(dense)
    finally:
        torch.set_num_threads(threads)
    assert spread
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.fixture
def dense(make_cloud):
    return make_cloud("mixed", 21, size=(70, 90), batch=2, count=5000)


def test_the_number_of_threads_does_not_change_a_bit(dense):
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(image_and_gradients(dense))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_several_threads_may_render_at_once(dense):
    expected = image_and_gradients(dense)
    wrong: list[str] = []

    def work():
        for _ in range(5):
            found = image_and_gradients(dense)
            if not all(torch.equal(a, b) for a, b in zip(expected, found, strict=True)):
                wrong.append(threading.current_thread().name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_renders_on_threads_of_its_own(dense):
    splat(dense.means, dense.conics, dense.opacities, dense.values, dense.size, backend="cpu")
    child = os.fork()
    if child == 0:  # pragma: no cover - the child process
        torch.set_num_threads(1)
        from napari_emgauss.render import _cpu

        done = _cpu._pool.submit(lambda: 7).result(timeout=60)
        os._exit(done)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


def test_without_gradients_nothing_is_kept(dense):
    with torch.no_grad():
        image = splat(dense.means, dense.conics, dense.opacities, dense.values, dense.size, backend="cpu")
    assert image.grad_fn is None
    assert not image.requires_grad


def test_inputs_need_not_be_contiguous(dense):
    means = dense.means.transpose(1, 2).contiguous().transpose(1, 2)
    values = dense.values.repeat(1, 2)[:, ::2]
    found = splat(means, dense.conics, dense.opacities, values, dense.size, backend="cpu")
    expected = splat(dense.means, dense.conics, dense.opacities, dense.values, dense.size, backend="cpu")
    assert not means.is_contiguous()
    assert torch.equal(found, expected)


def test_warm_up_compiles_both_passes():
    warm_up()
    from napari_emgauss.render import _cpu_kernels as kernels

    for kernel in (kernels.prepare, kernels.list_entries, kernels.blend, kernels.blend_backward, kernels.gather):
        assert len(kernel.signatures) == 1
