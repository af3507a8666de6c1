"""Checkpoints: the state of a running fit in one safetensors file, so that it can go on later."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_emgauss._errors import ConfigError, ModelFileError
from napari_emgauss.fitting._config import FitConfig
from napari_emgauss.fitting._labels import Labels
from napari_emgauss.fitting._trainer import Trainer
from napari_emgauss.model import read_tensors, write_tensors

CHECKPOINT_FORMAT = "napari-emgauss-checkpoint"
CHECKPOINT_FORMAT_VERSION = 1


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
    """What a checkpoint file holds."""

    config: FitConfig
    stack: str
    elapsed_s: float
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    provenance: dict[str, Any]

    def labels(self) -> tuple[NDArray[np.float16], NDArray[np.float16] | None] | None:
        """Pseudo-labels and their confidences, where they were kept."""
        if "labels/images" not in self.tensors:
            return None
        confidences = self.tensors.get("labels/confidences")
        return (
            self.tensors["labels/images"].numpy(),
            None if confidences is None else confidences.numpy(),
        )


def write_checkpoint(
    path: str | os.PathLike[str],
    trainer: Trainer,
    labels: Labels | None,
    *,
    stack: str,
    elapsed_s: float,
    provenance: dict[str, Any],
) -> None:
    """Write the state of ``trainer`` to ``path``, whole or not at all.

    Kept pseudo-labels are written too: a prior that was trained for minutes is not trained again.

    Raises
    ------
    ModelFileError
        The file cannot be written.
    """
    tensors, state = trainer.state()
    if labels is not None and labels.images is not None:
        tensors["labels/images"] = torch.from_numpy(labels.images)
        if labels.confidences is not None:
            tensors["labels/confidences"] = torch.from_numpy(labels.confidences)
    header = {
        "format": CHECKPOINT_FORMAT,
        "format_version": CHECKPOINT_FORMAT_VERSION,
        "config": trainer.config.to_dict(),
        "stack": stack,
        "elapsed_s": elapsed_s,
        "state": state,
        "provenance": provenance,
    }
    write_tensors(path, tensors, header)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read what :func:`write_checkpoint` wrote.

    Raises
    ------
    ModelFileError
        The file is missing, truncated, foreign, or of a newer version.
    """
    tensors, header = read_tensors(
        path, expected_format=CHECKPOINT_FORMAT, newest_version=CHECKPOINT_FORMAT_VERSION, kind="checkpoint"
    )
    try:
        return Checkpoint(
            config=FitConfig.from_dict(header["config"]),
            stack=header["stack"],
            elapsed_s=float(header["elapsed_s"]),
            tensors=tensors,
            state=header["state"],
            provenance=header["provenance"],
        )
    except (KeyError, TypeError, ConfigError) as error:
        raise ModelFileError(f"{path} is a damaged EMGauss checkpoint; start the fit anew.") from error
