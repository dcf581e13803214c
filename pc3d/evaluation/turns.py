"""Timing of several actions in turns, so that what else a machine does falls on all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def in_turns(
    actions: Mapping[Name, Callable[[], object]], turns: int, clock: Callable[[], float]
) -> dict[Name, list[float]]:
    """Seconds of each action in each turn, one action after the other; a turn before is not counted."""
    times: dict[Name, list[float]] = {name: [] for name in actions}
    for turn in range(turns + 1):
        for name, action in actions.items():
            began = clock()
            action()
            if turn:
                times[name].append(clock() - began)
    return times
