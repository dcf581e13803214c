"""Velocities of objects that a data set follows through a drive, but does not state them for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pc3d.data.readers.nuscenes_boxes import track_velocities
from pc3d.data.records import Float64


def velocities_of_tracks(tracks: Sequence[str], translations: Float64, seconds: Float64) -> Float64:
    """(A, 3) m/s in the world of `translations` (A, 3), NaN where an object is seen once or seldom.

    The difference between the times before and after, as nuScenes' devkit takes it. Where an object has two
    boxes at one time, they do not count as neighbours.

    Args:
        tracks: A names of objects. seconds: (A,) times.
    """
    numbers = np.unique(np.array(tracks, dtype=str), return_inverse=True)[1]
    order = np.lexsort((seconds, numbers))
    follows = (np.diff(numbers[order]) == 0) & (np.diff(seconds[order]) > 0)
    neighbours = np.full((len(order), 2), -1, dtype=np.int64)
    neighbours[order[1:][follows], 0] = order[:-1][follows]
    neighbours[order[:-1][follows], 1] = order[1:][follows]
    return track_velocities(translations, seconds, neighbours)


def rows_at(times: NDArray[np.int64], time: int) -> NDArray[np.int64] | None:
    """The rows of one time in a table of N boxes, in any order.

    None before its first time and after its last: of these the table says nothing, for it is cut. A time
    between them without a row is one at which there is nothing.
    """
    if not len(times) or not times.min() <= time <= times.max():
        return None
    return np.flatnonzero(times == time)
