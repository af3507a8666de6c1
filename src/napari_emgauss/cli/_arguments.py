"""Kinds of arguments: each turns a string of the command line into a value, or says what is wrong with it."""

from __future__ import annotations

import argparse
import ast
import math
from typing import Any


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is not a finite number")
    return value


def positive_number(text: str) -> float:
    """A finite number above zero."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not above zero")
    return value


def count(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not at least 1")
    return value


def distance_between_slices(text: str) -> tuple[int | None, float]:
    """A distance in nm, or ``SLICE=NM`` for that from one slice to the next."""
    place, equals, size = text.rpartition("=")
    try:
        index = int(place) if equals else None
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a distance in nm nor SLICE=NM") from None
    return index, positive_number(size)


def channels(text: str) -> int | tuple[int, ...]:
    """A channel, or several of them with commas between."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of channels, such as 0 or 0,2") from None
    return found[0] if len(found) == 1 else found


def names(text: str) -> tuple[str, ...]:
    """Comma-separated names, each once."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise argparse.ArgumentTypeError("no name given")
    return found


def named_file(text: str) -> tuple[str, str]:
    """``name=file``."""
    name, equals, path = text.partition("=")
    if not equals or not name.strip() or not path.strip():
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=FILE")
    return name.strip(), path.strip()


def setting(text: str) -> tuple[str, Any]:
    """``key=value``; the value is a Python literal (number, true/false, none, tuple) or else a word."""
    key, equals, value = text.partition("=")
    key = key.strip().replace("-", "_")
    if not equals or not key.replace(".", "_").isidentifier():
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form key=value")
    return key, literal(value.strip())


def literal(text: str) -> Any:
    """A word of the command line as the value it means."""
    word = text.lower()
    if word in ("true", "false"):
        return word == "true"
    if word in ("none", "null", ""):
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
