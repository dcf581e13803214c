"""Nearest-time partners of messages, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pc3d.findings import Finding


def nearest(times: Sequence[int], others: Sequence[int], tolerance: float) -> NDArray[np.int64]:
    """(N,) position in `others` of the one nearest to each of N times, -1 where none is near enough.

    Args:
        times, others: nanoseconds, ascending.
        tolerance: seconds.
    """
    wanted, there = np.asarray(times, dtype=np.int64), np.asarray(others, dtype=np.int64)
    if not len(there) or not len(wanted):
        return np.full(len(wanted), -1, dtype=np.int64)
    after = np.clip(np.searchsorted(there, wanted), 0, len(there) - 1)
    before = np.maximum(after - 1, 0)
    earlier = np.abs(there[before] - wanted) <= np.abs(there[after] - wanted)
    found = np.where(earlier, before, after)
    return np.where(np.abs(there[found] - wanted) <= round(1e9 * tolerance), found, -1)


class Partners:
    """Counts how far the messages of a topic are from those that they are joined to.

    Args:
        topic: whose messages are looked for.
        tolerance: seconds.
    """

    def __init__(self, topic: str, tolerance: float) -> None:
        self._topic, self._tolerance = topic, tolerance
        self._apart: list[float] = []
        self._alone = 0

    def see(self, times: Sequence[int], others: Sequence[int], found: NDArray[np.int64]) -> None:
        """Count the result of `nearest`."""
        self._alone += int((found < 0).sum())
        pairs = [(times[n], others[at]) for n, at in enumerate(found.tolist()) if at >= 0]
        self._apart += [1e-9 * abs(time - other) for time, other in pairs]

    def findings(self) -> list[Finding]:
        """How far apart partners are, and how many sweeps have none."""
        total = len(self._apart) + self._alone
        if not total:
            return []
        name = f"times of {self._topic}"
        text = f"{self._alone} of {total} sweeps have none within {self._tolerance:g} s"
        if self._apart:
            middle, most = float(np.median(self._apart)), max(self._apart)
            text += f"; the others' are {1e3 * middle:.1f} ms away (median), at most {1e3 * most:.1f} ms"
        if not self._alone:
            return [Finding(name, "ok", text)]
        remedy = "look for gaps in the recording; --tolerance SECONDS widens the search"
        return [Finding(name, "warning", text, remedy)]
