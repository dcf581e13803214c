"""The entry of a list of times that is nearest to another time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def nearest(times: Sequence[int] | NDArray[np.int64], time: int, most: int) -> int | None:
    """Position of the time that is nearest in N ascending ones, None where none is within `most`.

    Of two that are as near the earlier counts.
    """
    after = bisect_left(times, time)
    near = [n for n in (after - 1, after) if 0 <= n < len(times) and abs(int(times[n]) - time) <= most]
    return min(near, key=lambda n: abs(int(times[n]) - time), default=None)
