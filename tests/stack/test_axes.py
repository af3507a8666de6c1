"""Which planes of a file are the slices, by hand."""

from __future__ import annotations

import pytest

from napari_emgauss._errors import StackError
from napari_emgauss.stack._axes import choose_axes


@pytest.mark.parametrize(
    ("axes", "shape", "options", "pages"),
    [
        ("ZYX", (4, 5, 6), {}, [0, 1, 2, 3]),
        ("TZCYX", (1, 4, 1, 5, 6), {}, [0, 1, 2, 3]),
        ("TZCYX", (2, 3, 4, 5, 6), {"time": 1, "channel": 2}, [14, 18, 22]),
        ("CZYX", (2, 3, 5, 6), {"channel": 1}, [3, 4, 5]),
        ("ZCYX", (3, 2, 5, 6), {"channel": 1}, [1, 3, 5]),
        ("IYX", (3, 5, 6), {}, [0, 1, 2]),
        ("TYX", (3, 5, 6), {}, [0, 1, 2]),
        ("CYX", (5, 5, 6), {}, [0, 1, 2, 3, 4]),
        ("ZYXS", (3, 5, 6, 1), {}, [0, 1, 2]),
    ],
)
def test_pages(axes: str, shape: tuple[int, ...], options: dict[str, int], pages: list[int]) -> None:
    choice = choose_axes(axes, shape, **options)
    assert choice.pages.tolist() == pages
    assert (choice.height, choice.width) == (5, 6)
    assert bool(choice.note) == (axes in ("TYX", "CYX"))


@pytest.mark.parametrize(
    ("axes", "shape", "match"),
    [
        ("YX", (5, 6), "single image"),
        ("CZYX", (1, 1, 5, 6), "single image"),
        ("CYX", (3, 5, 6), "No axis"),
        ("YXS", (5, 6, 3), "RGB"),
        ("YXZ", (5, 6, 4), "must come last"),
        ("TZYX", (2, 4, 5, 6), "2 time points: .* time=0 to time=1"),
        ("QZYX", (2, 4, 5, 6), "2 stacks in one array: save one"),
        ("ZYX", (10**12, 5, 6), "claims 1000000000000 slices"),
    ],
)
def test_refuses(axes: str, shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(StackError, match=match):
        choose_axes(axes, shape)
