"""Ways to damage a file or a header, for tests that try them all."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

NONSENSE = st.sampled_from(
    [None, True, -1, 0, 1, 3, 2.5, 10**9, 10**30, -(10**12), "", "uint8", "x", [], [1], [10**12] * 4, {}, 1e308]
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a header, as the keys that lead there."""
    inside: list[tuple[Any, ...]] = [way] if way else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        inside += places(item, (*way, key))
    return inside


def with_nonsense(header: dict[str, Any], way: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A header with something else at one place."""
    broken: dict[str, Any] = json.loads(json.dumps(header))
    inner: Any = broken
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = value
    return broken


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes of a file, overwritten, with some put in, or cut off, rather near its beginning."""
    broken = data
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.floats(0, 1) | st.floats(0, 0.2))
        what = draw(st.binary(min_size=1, max_size=8))
        at = int(where * (len(broken) - 1))
        kind = draw(st.sampled_from(["overwrite", "cut", "insert"]))
        after = {"overwrite": broken[at + len(what) :], "insert": broken[at:], "cut": b""}[kind]
        broken = broken[:at] + what + after
    return broken
