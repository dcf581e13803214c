"""The one exception of bad input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NoReturn


class DataError(ValueError):
    """A file or a data set is not what it should be: the message says what, where and the remedy."""


def fail(what: str, where: object, remedy: str) -> NoReturn:
    """Raise a `DataError` that says what is wrong, where, and what to do."""
    raise DataError(f"{what}\n  where: {where}\n  remedy: {remedy}")


def some(tokens: Sequence[str], of: int) -> str:
    """How many tokens of how many, and the first three."""
    shown = ", ".join(repr(token[:80]) for token in tokens[:3])
    return f"{len(tokens)} of {of} tokens ({shown}{', ...' if len(tokens) > 3 else ''})"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The known name that is nearest to a wrong one, as the end of a message; empty where none is near."""
    lower = {str(one).lower(): one for one in known}
    close = get_close_matches(str(name).lower(), lower, 1)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""
