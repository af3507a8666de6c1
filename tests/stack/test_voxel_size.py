"""Units of length and unknown sizes."""

from __future__ import annotations

import pytest

from napari_emgauss._errors import VoxelSizeError
from napari_emgauss.stack import VoxelSize, to_nm


@pytest.mark.parametrize(
    ("value", "unit", "nm"),
    [
        (0.05, "\u00b5m", 50),
        (0.05, "\u03bcm", 50),
        (0.05, "um", 50),
        (0.05, "microns", 50),
        (0.05, "micrometer", 50),
        (0.05, "\\u00B5m", 50),
        (50, "nm", 50),
        (50, "Nanometers", 50),
        (500, "angstrom", 50),
        (500, "\u00c5", 50),
        (500, "\u212b", 50),
        (5e-5, "mm", 50),
        (5e-8, "m", 50),
        (1, "inch", 2.54e7),
    ],
)
def test_units(value: float, unit: str, nm: float) -> None:
    assert to_nm(value, unit) == pytest.approx(nm)


@pytest.mark.parametrize("unit", ["pixel", "", "s", "reference frame"])
def test_not_a_length(unit: str) -> None:
    with pytest.raises(VoxelSizeError, match="not a unit of length"):
        to_nm(1, unit)


def test_unknown_is_none() -> None:
    size = VoxelSize(0.0, float("nan"), -1.0)
    assert (size.z_nm, size.y_nm, size.x_nm) == (None, None, None)
    assert not size.complete
    assert str(VoxelSize(None, 4.6, 5)) == "? x 4.6 x 5 nm (z, y, x)"
    assert VoxelSize(50, 4.6, 5).complete
