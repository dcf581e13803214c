"""Values of a calibration file, checked: each error names the key and what is expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from pc3d.data.errors import did_you_mean


@contextmanager
def within(name: str) -> Iterator[None]:
    """Let an error say in which section it is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def section_of(values: Any, name: str, keys: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    """A mapping with no other keys than these; with None, of names that are text."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is {_shown(values)}, expected keys with values")
    for key in values:
        if keys is None:
            text(key, f"{name}: a name")
        elif key not in keys:
            near = did_you_mean(key, keys) or f"; known: {', '.join(keys)}"
            raise ValueError(f"{name} has the unknown key {key!r}{near}")
    return values


def text(value: Any, name: str) -> str:
    """A text that is not empty. YAML reads `00` as the number 0 and `on` as true."""
    if not isinstance(value, str) or not value:
        quoted = "" if isinstance(value, (list, dict, str)) or value is None else ": quote it, '00' or 'on'"
        raise ValueError(f"{name} is {_shown(value)}, expected text{quoted}")
    return value


def choice(value: Any, name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} is {_shown(value)}{did_you_mean(value, known)}; known: {', '.join(known)}")
    return value


def one_of(section: Mapping[str, Any], key: str, known: tuple[str, ...], default: Any) -> Any:
    """One of some words, or what stands where the key is not there."""
    return choice(section[key], key, known) if section.get(key) is not None else default


def number(value: Any, name: str) -> float:
    """A finite number; `1e2`, which YAML takes for text, too."""
    given = value
    if isinstance(value, str):
        try:
            given = float(value)
        except ValueError:
            given = None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not np.isfinite(given):
        raise ValueError(f"{name} is {_shown(value)}, expected a number")
    return float(given)


def numbers(values: Any, name: str) -> tuple[float, ...]:
    """A list of finite numbers, of any length."""
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{name} is {_shown(values)}, expected a list of numbers")
    return tuple(number(value, f"{name}[{n}]") for n, value in enumerate(values))


def positive(value: Any, name: str) -> float:
    """A number above 0."""
    given = number(value, name)
    if not given > 0:
        raise ValueError(f"{name} is {_shown(value)}, expected a number above 0")
    return given


def whole(value: Any, name: str) -> int:
    """A whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {_shown(value)}, expected a whole number above 0")
    return value


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) and len(value) <= 60 else str(value)[:60]
