"""What a piece of work asks of torch: waits for a device, and a recorder that replays launches as a CUDA graph does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten

# Each needs a number from the device, or a size that depends on one.
_ANSWERS = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten.is_nonzero,
    aten.unique_consecutive,
    aten._unique2,
    aten.unique_dim,
    aten.nonzero_static,
}


# Numbers of Python that become a tensor there; operations below do not show where they came from.
_BUILDERS = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}


class _Built(TorchFunctionMode):
    """Counts tensors made on ``device`` from numbers of the host."""

    def __init__(self, device: str, found: Counter[str]) -> None:
        super().__init__()
        self.device, self.found = device, found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in _BUILDERS and out.device.type == self.device and not isinstance(args[0], Tensor | type(None)):
            self.found[f"{func.__name__} from the host"] += 1
        elif func is Tensor.new_tensor and out.device.type == self.device:
            self.found["new_tensor from the host"] += 1
        return out


class Waits(TorchDispatchMode):
    """Counts what would make a host wait for ``device``: numbers asked of it, and numbers sent to it unprepared.

    On the ``meta`` device nothing is computed, so that whatever needs a result fails; here it is counted instead where
    that is possible. Numbers in CPU memory may be read.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.found: Counter[str] = Counter()
        self._built = _Built(device, self.found)

    def __enter__(self) -> Any:
        self._built.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._built.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [leaf for leaf in inputs if leaf.device.type == self.device]
        packet = func.overloadpacket
        if there and packet in _ANSWERS:
            self.found[str(func)] += 1
        if packet in (aten.index, aten.index_put, aten.index_put_) and any(t.dtype == torch.bool for t in there[1:]):
            self.found[f"{func} by booleans"] += 1
        if packet is aten.repeat_interleave and there and kwargs.get("output_size") is None and len(args) < 4:
            self.found[str(func)] += 1
        out = func(*args, **kwargs)
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        arrives = any(leaf.device.type == self.device for leaf in results)
        # A number on the CPU may take part in arithmetic: it travels with the launch.
        sent = any(leaf.device.type == "cpu" and leaf.dim() for leaf in inputs)
        if arrives and (sent or packet is aten.lift_fresh):
            self.found[f"{func} from the host"] += 1
        if there and any(leaf.device.type == "cpu" for leaf in results):
            self.found[f"{func} to the host"] += 1
        return out


class Tape(TorchDispatchMode):
    """Records the operations of a step with the very tensors they work on."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, out))
        return out

    def replay(self) -> None:
        """Do the operations again, into the tensors that held their results."""
        with torch.no_grad():
            for func, args, kwargs, out in self.operations:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.detach().copy_(new)


def tape_recorder(
    restore: Callable[[], Callable[[], None]],
) -> Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]:
    """A recorder for the CPU: like a CUDA graph it replays operations, never Python.

    While a graph is recorded nothing is carried out. The tape cannot help carrying it out; ``restore`` keeps the state
    and returns what brings it back.
    """

    def record(step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        back = restore()
        tape = Tape()
        with tape:
            result = step()
        back()
        return tape.replay, result

    return record


def detached(value: Any) -> Any:
    """Copies of all tensors in nested containers."""
    return tree_map(lambda v: v.detach().clone() if isinstance(v, Tensor) else v, value)
