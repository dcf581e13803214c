"""A key frame and the one after it: what regions are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pc3d.data.index import SweepIndex
from pc3d.data.labels.load import load_raw_labels
from pc3d.data.points import load_sweep
from pc3d.data.records import Float32, Sweep


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A key frame (`now`) and the next of its scene (`following`; at the end the frame itself).

    Points are read when first asked for: (P, >= 4) float32, metres, LiDAR frame of their sweep.
    """

    now: Sweep
    following: Sweep

    @cached_property
    def points(self) -> Float32:
        return load_sweep(self.now)

    @property
    def categories(self) -> NDArray[np.int64] | None:
        """(P,) raw id in the label file of each point, None where there is no file."""
        return None if self.now.lidarseg_path is None else load_raw_labels(self.now, len(self.points))

    @cached_property
    def following_points(self) -> Float32:
        following = self.following
        if following.token == self.now.token:
            return self.points
        return load_sweep(following)


def key_frames(index: SweepIndex, rows: Iterable[int]) -> Iterator[KeyFrame]:
    """The key frames at `rows` of an index."""
    for row in rows:
        following = index.neighbour(int(row), 1)
        now = index[int(row)]
        yield KeyFrame(now, now if following is None else index[following])
