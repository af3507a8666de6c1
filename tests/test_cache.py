from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from napari_emgauss._cache import ByteBoundCache


def cache_of(max_bytes: int) -> ByteBoundCache[str, str]:
    return ByteBoundCache(len, max_bytes)


def test_the_least_recently_used_value_goes_first() -> None:
    loaded: list[str] = []

    def load(key: str) -> str:
        loaded.append(key)
        return key * 4

    cache = cache_of(8)
    assert cache.get_or_load("a", load) == "aaaa"
    cache.get_or_load("b", load)
    assert cache.get("a") == "aaaa"
    cache.get_or_load("c", load)  # b is the one that was not looked at for longest
    assert ("a" in cache, "b" in cache, "c" in cache) == (True, False, True)
    assert cache.nbytes == 8
    cache.get_or_load("a", load)
    assert loaded == ["a", "b", "c"]


def test_what_is_not_kept_is_none() -> None:
    cache = cache_of(8)
    assert cache.get("a") is None
    cache.put("a", "four")
    cache.put("a", "else")  # of two threads that made it, the first counts
    assert (cache.get("a"), cache.nbytes) == ("four", 4)
    cache.clear()
    assert (cache.get("a"), cache.nbytes, len(cache)) == (None, 0, 0)


def test_a_value_larger_than_the_limit_is_handed_out_but_not_kept() -> None:
    cache = cache_of(8)
    assert cache.get_or_load("a", lambda key: key * 9) == "a" * 9
    assert len(cache) == cache.nbytes == 0


def test_a_lower_limit_drops_values_at_once() -> None:
    cache = cache_of(8)
    cache.put("a", "four")
    cache.put("b", "more")
    cache.max_bytes = 4
    assert "a" not in cache and "b" in cache


def test_threads_that_ask_for_the_same_value_load_it_once() -> None:
    loads: list[str] = []
    asked = threading.Barrier(4, timeout=20)

    def load(key: str) -> str:
        loads.append(key)
        # The others are on their way by now; a second load would be seen in `loads`.
        threading.Event().wait(0.1)
        return key

    cache = cache_of(100)

    def ask(_: int) -> str:
        asked.wait()
        return cache.get_or_load("a", load)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == ["a"] * 4
    assert loads == ["a"]


def test_an_error_of_loading_is_told_and_not_remembered() -> None:
    outcomes = iter([OSError("gone"), "fine"])

    def load(_key: str) -> str:
        outcome = next(outcomes)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    cache = cache_of(100)
    with pytest.raises(OSError, match="gone"):
        cache.get_or_load("a", load)
    assert cache.get_or_load("a", load) == "fine"
