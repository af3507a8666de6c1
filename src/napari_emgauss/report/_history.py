"""What was skipped, filled or changed on the way from the file to the model, in sentences; and its provenance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_emgauss.stack import StackRecord

from ._facts import Facts

_LISTED = 12


def changes(facts: Facts) -> list[str]:
    """One sentence for everything that was left out or changed; what comes first was done first."""
    record = facts.known.stack
    told = [*_left_out(record), *_corrected(record), *_learned(facts)]
    told += [f"{note}." if not note.endswith(".") else note for note in map(str, record.notes)]
    told.append(
        "What lies between slices is inferred. A volume exported without --look exact also shows the observed slices "
        "as the model renders them."
    )
    return told


def _left_out(record: StackRecord) -> list[str]:
    told = []
    if record.left_out_slices:
        told.append(f"Left out on purpose: {slices(record.left_out_slices)}; these depths are inferred.")
    if record.skipped_slices:
        told.append(f"Left out of the layer: {slices(record.skipped_slices)}; these depths are inferred.")
    if record.region is not None:
        y0, y1, x0, x1 = record.region
        told.append(f"Only rows {y0} to {int(y1) - 1} and columns {x0} to {int(x1) - 1} of every slice were used.")
    if record.masked_fraction:
        shares = ", ".join(
            f"{number} ({share:.1%})" for number, share in list(record.masked_fraction.items())[:_LISTED]
        )
        more = "" if len(record.masked_fraction) <= _LISTED else ", …"
        told.append(f"Damaged pixels were marked and not learned from, and are filled: slices {shares}{more}.")
    return told


def _corrected(record: StackRecord) -> list[str]:
    told = []
    if record.jitter_removed_px:
        moved = float(np.hypot(*np.asarray(record.jitter_removed_px, dtype=float).T).max())
        told.append(f"Slices were moved into place, by up to {moved:.2f} pixels.")
    if record.intensity_correction:
        told.append(f"Brightness was evened out between slices ({record.intensity_correction}).")
    if record.denoising:
        told.append(f"Slices were denoised before the fit ({record.denoising.get('method', 'method unknown')}).")
    for channel in record.channels:
        told += _corrected(StackRecord.from_json({**channel, "channels": ()}))
    return list(dict.fromkeys(told))


def _learned(facts: Facts) -> list[str]:
    largest = facts.known.slice_shift_largest_px
    return [] if largest is None else [f"The fit shifted slices, by up to {float(largest):.2f} pixels."]


def slices(found: Sequence[int]) -> str:
    """A list of slices that stays short."""
    if len(found) == 1:
        return f"slice {found[0]}"
    shown = ", ".join(str(number) for number in found[:_LISTED])
    return f"slices {shown}" if len(found) <= _LISTED else f"slices {shown}, … ({len(found)} in all)"


def provenance(facts: Facts) -> list[tuple[str, str]]:
    """Where the result comes from, name by name."""
    known, model = facts.known, facts.model
    count, height, width = model.shape
    steps = np.diff(np.asarray(model.z_nm, dtype=float))
    y_nm, x_nm = model.pixel_size_nm
    pairs: list[tuple[str, Any]] = [
        ("source", known.source),
        ("format", known.stack.format),
        ("slices fitted", f"{count} of {height} × {width} pixels, {np.dtype(model.dtype).name}"),
        ("pixel size (y, x)", f"{y_nm:g} × {x_nm:g} nm"),
        ("distance between slices", _distances(steps)),
        ("depths", f"{float(model.z_nm[0]):g} to {float(model.z_nm[-1]):g} nm"),
        ("voxel size from", known.stack.voxel_size_source),
        ("depths from", known.stack.z_positions_source),
        ("prior", known.prior_name or known.fit.get("prior")),
        ("time of the fit", None if known.fit_s is None else f"{float(known.fit_s):.0f} s"),
        ("seed", known.fit.get("seed")),
        ("napari-emgauss", known.napari_emgauss),
        ("torch", known.torch),
        ("fingerprint of the stack", known.stack_id),
    ]
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]


def _distances(steps: np.ndarray[Any, Any]) -> str:
    if np.allclose(steps, steps[0], rtol=1e-3):
        return f"{float(steps[0]):g} nm"
    return f"{float(steps.min()):g} to {float(steps.max()):g} nm, median {float(np.median(steps)):g} nm"
