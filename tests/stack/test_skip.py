"""Slice lists as people write them."""

from __future__ import annotations

import pytest

from napari_emgauss._errors import StackError
from napari_emgauss.stack._skip import parse_slices


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12,57-59", (12, 57, 58, 59)),
        (" 3 , 1;2 - 3,", (1, 2, 3)),
        ("", ()),
        ([5, 2, 5], (2, 5)),
        (7, (7,)),
        ((), ()),
    ],
)
def test_lists(text: object, expected: tuple[int, ...]) -> None:
    assert parse_slices(text, 60) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("x", "'x' is not a slice number"),
        ("1-2-3", "not a slice number"),
        ("-3", "not a slice number"),
        ("9-7", "write 7-9"),
        ("60", "slices 0 to 59"),
        ("1-999999999999", "slices 0 to 59"),
        ([-1], "slices 0 to 59"),
    ],
)
def test_refuses(text: object, match: str) -> None:
    with pytest.raises(StackError, match=match):
        parse_slices(text, 60)  # type: ignore[arg-type]
