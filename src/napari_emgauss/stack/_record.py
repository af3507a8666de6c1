"""What is noted of a stack, and kept with everything made of it: dataclasses that travel as JSON."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class JsonRecord:
    """Notes that are all optional, as a dataclass and as a JSON object.

    Parameters
    ----------
    more : dict
        Notes that this version does not know, of newer versions or of somebody else; they are kept.
    """

    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Of a JSON object; whatever is none notes nothing."""
        if not isinstance(values, Mapping):
            return cls()
        known = {item.name for item in fields(cls)} - {"more"}
        more = {key: value for key, value in values.items() if key not in known}
        return cls(**{key: values[key] for key in known & values.keys() if values[key] is not None}, more=more)

    def to_json(self) -> dict[str, Any]:
        """What :meth:`from_json` takes: the notes that there are."""
        noted: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            default = item.default if item.default_factory is MISSING else item.default_factory()
            if item.name != "more" and value != default:
                noted[item.name] = value.to_json() if isinstance(value, JsonRecord) else value
        return {**noted, **self.more}


@dataclass(frozen=True, kw_only=True)
class StackRecord(JsonRecord):
    """How a stack came about: ``Stack.metadata`` is this as JSON. Slices are numbered as in the file.

    Parameters
    ----------
    format, dataset : str
        Of the file.
    channels_in_file, time_in_file : optional
        Channels and time point of the file that were chosen.
    notes : sequence of str
        What was assumed when it was read.
    voxel_size_source, z_positions_source : str
        Where geometry is from.
    selected_slices : sequence of int, optional
        Slices of the file that there are; all where it is None.
    shape_in_file : sequence of int
        Slices, rows and columns of the file, where a part of it was read.
    left_out_slices : sequence of int
        Slices that were left out on purpose.
    left_out_z_nm : sequence of float
        Their depths.
    region : sequence of int, optional
        ``(y0, y1, x0, x1)`` of the file's slices.
    masked_fraction : mapping of str to float
        Slice -> damaged part of it.
    jitter_removed_px : sequence
        ``(y, x)`` by which each slice lay off; it was moved back by that.
    intensity_correction : str
        Method.
    intensity_lines : sequence, optional
        ``(gain, offset)`` of each slice, where it was a straight line.
    denoising : mapping
        Method, strength and the noise found.
    channels : sequence of mapping
        Records of single channels, where they differ.
    first_slice : int
        Of the part of a layer that was fitted.
    layer_shape : sequence of int
        Of that layer.
    skipped_slices : sequence of int
        Slices of that layer that were left out.
    """

    format: str = ""
    dataset: str = ""
    channels_in_file: Sequence[int] | None = None
    time_in_file: int | None = None
    notes: Sequence[str] = ()
    voxel_size_source: str = ""
    z_positions_source: str = ""
    selected_slices: Sequence[int] | None = None
    shape_in_file: Sequence[int] = ()
    left_out_slices: Sequence[int] = ()
    left_out_z_nm: Sequence[float] = ()
    region: Sequence[int] | None = None
    masked_fraction: Mapping[str, float] = field(default_factory=dict)
    jitter_removed_px: Sequence[Sequence[float]] = ()
    intensity_correction: str = ""
    intensity_lines: Sequence[Sequence[float]] | None = None
    denoising: Mapping[str, Any] = field(default_factory=dict)
    channels: Sequence[Mapping[str, Any]] = ()
    first_slice: int = 0
    layer_shape: Sequence[int] = ()
    skipped_slices: Sequence[int] = ()

    @property
    def left_out(self) -> dict[int, float]:
        """Slice that was left out -> its depth, nm."""
        return dict(zip(self.left_out_slices, self.left_out_z_nm, strict=False))

    def fitted_numbers(self, count: int) -> list[int]:
        """Numbers in the file, or in the layer, of a fit's ``count`` slices; from 0 where the notes make no sense."""
        chosen: Any = self.selected_slices
        skipped: Any = self.skipped_slices
        left_out: Any = self.left_out_slices
        first: Any = self.first_slice
        if not all(isinstance(numbers, (list, tuple)) for numbers in (chosen or (), skipped, left_out)):
            return list(range(count))
        if chosen is not None and len(chosen) == count and all(isinstance(k, int) and k >= 0 for k in chosen):
            return list(chosen)
        gone = {*skipped, *left_out}
        from_first = (k for k in itertools.count(first if isinstance(first, int) else 0) if k not in gone)
        return list(itertools.islice(from_first, count))

    @property
    def by_channel(self) -> list[StackRecord]:
        """One record a channel, or this one where there is one channel."""
        return [StackRecord.from_json(one) for one in self.channels] or [self]
