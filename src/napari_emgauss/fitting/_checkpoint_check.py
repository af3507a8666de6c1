"""Whether a checkpoint fits the stack and itself: looked at before anything of it is used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_emgauss.fitting._checkpoint import Checkpoint
from napari_emgauss.model import check_parameters
from napari_emgauss.stack import Stack

_ADAM = ("step", "exp_avg", "exp_avg_sq")
_MOST = 10**12


def check_checkpoint(saved: Checkpoint, stack: Stack, label_count: int) -> None:
    """Compare a checkpoint with the stack, its settings with its tensors, and its numbers with what they count.

    Parameters
    ----------
    saved : Checkpoint
        As read; of this stack, as its fingerprint says.
    stack : Stack
        What it is to go on with.
    label_count : int
        Pseudo-labels that the fit has; 0 where the teacher makes them.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError, AttributeError
        Something does not fit.
    """
    state, config = saved.state, saved.config
    slices = stack.shape[0]
    if not _is_count(state["iteration"], config.total_iterations(slices)):
        raise ValueError("The iteration is not one of this fit.")
    _check_labels(saved, stack, label_count)
    _check_report(saved.provenance)
    if not saved.iterating:
        if state["iteration"] != 0:
            raise ValueError("There is no state after this many iterations.")
        return
    _check_model(saved, stack)
    _check_optimiser(saved)
    counts = state["counts"]
    if any(not _is_counts(state[name], len(counts)) for name in ("caps", "gradient_counts")):
        raise ValueError("The counts of Gaussians are not valid.")
    wanted: dict[str, tuple[int, ...]] = {f"gradient/{k}": (count,) for k, count in enumerate(counts)}
    if config.slice_shifts:
        wanted |= {"shifts/shifts": (slices, 2), "shifts/moments": (2, slices, 2), "shifts/steps": (slices, 1)}
    _check_shapes(saved, ("gradient/", "shifts/"), wanted, torch.float32)
    if state["loss"] is not None and not math.isfinite(state["loss"]):
        raise ValueError("The loss is not a number.")
    np.random.default_rng().bit_generator.state = state["rng"]
    _check_bag(state["real"], slices)
    # Of gaps where the teacher makes the labels, or the prior waits for the joint stage; else of labels.
    waits = config.slice_shifts and state["iteration"] <= config.stages(slices).joint_end
    of_gaps = not label_count or (waits and state["pseudo"]["size"] == slices - 1)
    _check_bag(state["pseudo"], slices - 1 if of_gaps else label_count)


def _is_count(value: Any, most: int = _MOST) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_counts(values: Any, length: int) -> bool:
    return isinstance(values, list) and len(values) == length and all(_is_count(value) for value in values)


def _check_report(provenance: dict[str, Any]) -> None:
    """What is taken over of where the fit comes from: what the prior said of itself, and how long it took."""
    seconds = provenance.get("prior_s", 0.0)
    if not isinstance(provenance.get("prior", {}), dict) or not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError("What the prior said is not a table.")


def _check_model(saved: Checkpoint, stack: Stack) -> None:
    _, height, width = stack.shape
    z: NDArray[np.float64] = np.asarray(stack.z_nm, dtype=np.float64)
    slice_t = (z - z[0]) / (z[-1] - z[0])
    config = saved.config.for_stack(stack.shape[0], stack.anisotropy_factor).model_config(stack.channels)
    for prefix in ("student/", "teacher/"):
        tensors = saved.part(prefix)
        if tensors or prefix == "student/":
            check_parameters(config, slice_t, (height, width), saved.state["counts"], tensors)


def _check_optimiser(saved: Checkpoint) -> None:
    student = saved.part("student/")
    moments = saved.part("adam/")
    seen = {name.rpartition(":")[0] for name in moments}
    if not seen <= set(student):
        raise ValueError("There are moments of parameters that do not exist.")
    wanted = {
        f"adam/{name}:{kind}": () if kind == "step" else tuple(student[name].shape) for name in seen for kind in _ADAM
    }
    _check_shapes(saved, ("adam/",), wanted, torch.float32)


def _check_labels(saved: Checkpoint, stack: Stack, label_count: int) -> None:
    kept = saved.labels()
    if kept is None and "labels/confidences" not in saved.tensors:
        return
    _, height, width = stack.shape
    plane = (height, width) if stack.channels == 1 else (stack.channels, height, width)
    names = [name for name in ("labels/images", "labels/confidences") if name in saved.tensors]
    if not label_count or names[0] != "labels/images":
        raise ValueError("There are labels where none should be.")
    _check_shapes(saved, ("labels/",), dict.fromkeys(names, (label_count, *plane)), torch.float16)


def _check_shapes(
    saved: Checkpoint, prefixes: tuple[str, ...], wanted: dict[str, tuple[int, ...]], dtype: torch.dtype
) -> None:
    found = {name: value for name, value in saved.tensors.items() if name.startswith(prefixes)}
    if {name: tuple(value.shape) for name, value in found.items()} != wanted:
        raise ValueError("Tensors do not have the shape of what they belong to.")
    if any(value.dtype != dtype for value in found.values()):
        raise ValueError("Tensors have the wrong type.")


def _check_bag(bag: dict[str, Any], size: int) -> None:
    left = bag["left"]
    if bag["size"] != size or not isinstance(left, list) or len(set(left)) != len(left) or len(left) > size:
        raise ValueError("The number of items left to draw is wrong.")
    if any(not _is_count(number, size - 1) for number in left):
        raise ValueError("An item left to draw does not exist.")
