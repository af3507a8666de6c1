"""Checkpoints: the state of a running fit in one safetensors file, so that it can go on later."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._errors import ModelFileError
from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._labels import Labels
from napari_emgauss.model import read_tensors, write_tensors
from napari_emgauss.priors import StateEntry, state_from_tensors, state_to_tensors

CHECKPOINT_FORMAT = "napari-emgauss-checkpoint"
CHECKPOINT_FORMAT_VERSION = 2
"""1: no prior's state, pseudo-labels always kept."""

LABELS_KEPT_BYTES = 64 << 20
"""Pseudo-labels larger than this are not kept where they follow from what the prior has learned: they are up to 28
times as large as the stack, and made again in a fraction of the time that the fit takes."""


_PRIOR = "prior/"


def fingerprint(images: NDArray[np.float32], z_nm: NDArray[np.float64], sound: NDArray[np.bool_] | None = None) -> str:
    """Short digest of slices, depths and sound pixels: a checkpoint goes on with the stack it began with."""
    digest = hashlib.sha256()
    digest.update(repr(images.shape).encode())
    digest.update(np.ascontiguousarray(z_nm).tobytes())
    digest.update(np.ascontiguousarray(images).tobytes())
    if sound is not None:
        digest.update(np.packbits(sound).tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a fit, as a file holds it.

    Parameters
    ----------
    config : FitConfig
        Settings of the fit.
    stack : str
        What :func:`fingerprint` says of its stack.
    elapsed_s : float
        Seconds that it took so far.
    tensors : dict
        Of the trainer, and ``labels/images`` and ``labels/confidences`` where pseudo-labels are kept.
    state : dict
        Numbers of the trainer; before its first iteration only ``iteration``, 0, and ``prior_fraction``, the share of
        the prior's preparation that is done.
    provenance : dict
        Of the model so far.
    prior : dict
        What the prior has come to, see :class:`~napari_emgauss.priors.PriorState`.
    """

    config: FitConfig
    stack: str
    elapsed_s: float
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    provenance: dict[str, Any]
    prior: dict[str, StateEntry] = field(default_factory=dict)

    @property
    def iterating(self) -> bool:
        """Whether the fit had a trainer, and not only a prior."""
        return "counts" in self.state

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names begin so, without that beginning."""
        return {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}

    def labels(self) -> tuple[NDArray[np.float16], NDArray[np.float16] | None] | None:
        """Pseudo-labels and their confidences, where they were kept."""
        if "labels/images" not in self.tensors:
            return None
        confidences = self.tensors.get("labels/confidences")
        return (
            self.tensors["labels/images"].numpy(),
            None if confidences is None else confidences.numpy(),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        inside = [value for entry in self.prior.values() for value in entry.tensors.values()]
        return sum(value.nbytes for value in [*self.tensors.values(), *inside])

    def copied(self) -> Checkpoint:
        """A state that stays as it is while the fit goes on; labels and prior never change."""
        copies = {
            name: value if name.startswith("labels/") else value.detach().to("cpu", copy=True)
            for name, value in self.tensors.items()
        }
        return Checkpoint(
            self.config, self.stack, self.elapsed_s, copies, self.state, dict(self.provenance), self.prior
        )


def kept_labels(labels: Labels | None, *, follows: bool) -> dict[str, Tensor]:
    """Pseudo-labels as a checkpoint holds them.

    Parameters
    ----------
    labels : Labels or None
    follows : bool
        Whether they can be made again from the settings and the prior's state.
    """
    if labels is None or labels.images is None:
        return {}
    arrays = {"labels/images": labels.images, "labels/confidences": labels.confidences}
    found = {name: torch.from_numpy(values) for name, values in arrays.items() if values is not None}
    return {} if follows and sum(value.nbytes for value in found.values()) > LABELS_KEPT_BYTES else found


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a state to ``path``, whole or not at all.

    Raises
    ------
    ModelFileError
        The file cannot be written.
    """
    of_prior, prior = state_to_tensors(checkpoint.prior)
    tensors = {**checkpoint.tensors, **{f"{_PRIOR}{name}": value for name, value in of_prior.items()}}
    header = {
        "format": CHECKPOINT_FORMAT,
        "format_version": CHECKPOINT_FORMAT_VERSION,
        "config": checkpoint.config.to_dict(),
        "stack": checkpoint.stack,
        "elapsed_s": checkpoint.elapsed_s,
        "state": checkpoint.state,
        "provenance": checkpoint.provenance,
        "prior": prior,
    }
    write_tensors(path, tensors, header)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read what :func:`write_checkpoint` wrote.

    Whether it fits a stack is not asked here, see ``check_checkpoint``.

    Raises
    ------
    ModelFileError
        The file is missing, truncated, damaged, foreign, or of a newer version.
    """
    tensors, header = read_tensors(
        path, expected_format=CHECKPOINT_FORMAT, newest_version=CHECKPOINT_FORMAT_VERSION, kind="checkpoint"
    )
    try:
        if not all(isinstance(header[name], dict) for name in ("config", "state", "provenance")):
            raise TypeError("A table is none.")
        elapsed_s = float(header["elapsed_s"])
        if not (math.isfinite(elapsed_s) and elapsed_s >= 0):
            raise ValueError("The time is none.")
        of_prior = {name.removeprefix(_PRIOR): value for name, value in tensors.items() if name.startswith(_PRIOR)}
        return Checkpoint(
            config=FitConfig.from_dict(header["config"]),
            stack=str(header["stack"]),
            elapsed_s=elapsed_s,
            tensors={name: value for name, value in tensors.items() if not name.startswith(_PRIOR)},
            state=header["state"],
            provenance=header["provenance"],
            prior=state_from_tensors(of_prior, header.get("prior", {})),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise damaged(path) from error


def damaged(path: str | os.PathLike[str]) -> ModelFileError:
    """What to say of a checkpoint that makes no sense."""
    return ModelFileError(
        f"{os.fspath(path)} is a damaged EMGauss checkpoint: its header and its content disagree: start the fit afresh."
    )
