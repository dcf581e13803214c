"""Local statistics of a loaded frame: the columns that its views get, and the target of an objective."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pc3d.data.frame_types import FrameSources
from pc3d.data.local_statistics import LENGTHS, NAMES, local_statistics
from pc3d.data.records import Float32
from pc3d.data.sweeps import STATISTICS, stored_features
from pc3d.data.transforms import ViewSample


def frame_statistics(
    sources: FrameSources, token: str | None, points: Float32, hidden: NDArray[np.bool_] | None = None
) -> Float32 | None:
    """The statistics of a frame's points among themselves, None where nobody asks for them.

    They are rounded to float16 (a length of 10 m to 4 mm), so that the cache, where there is one, holds
    them as they are.

    Args:
        token: of the sweep, None for a frame that is not kept.
        points: (P, 3 + features) as loaded.
        hidden: (P,) points that pasted objects hide: they are nobody's neighbours, and have zeros. A frame
            that objects may be pasted into is not kept.

    Returns:
        (P, 13) float32.
    """
    if not (sources.needs.statistics or STATISTICS in sources.config.features):
        return None
    cache = None if token is None or sources.objects is not None else sources.statistics
    kept = None if cache is None or token is None else cache.load(token, len(points))
    if kept is not None:
        return kept.astype(np.float32)
    intensity = 3 + stored_features(sources.config.features).index("intensity")
    columns = points[:, [0, 1, 2, intensity]]
    found = np.zeros((len(points), len(NAMES)), dtype=np.float16)
    shown = np.ones(len(points), dtype=np.bool_) if hidden is None else ~hidden
    found[shown] = rounded_statistics(columns[shown])
    if cache is not None and token is not None:
        cache.save(token, found)
    return found.astype(np.float32)


def rounded_statistics(points: Float32) -> NDArray[np.float16]:
    """(P, 13) statistics of (P, 4) points x y z and intensity, as float16."""
    return np.minimum(local_statistics(points), np.finfo(np.float16).max).astype(np.float16)


def with_statistics(view: ViewSample, statistics: Float32) -> ViewSample:
    """The view with its points' statistics as further columns, lengths in metres of the view."""
    scale = np.abs(np.linalg.det(view.view_T_lidar[:3, :3])) ** (1 / 3)
    columns = statistics[view.row] * np.where(LENGTHS, scale, 1.0).astype(np.float32)
    first = view.points.shape[1]
    points = np.concatenate([view.points, columns], axis=1)
    return replace(view, points=points, lengths=tuple((first + np.flatnonzero(LENGTHS)).tolist()))
