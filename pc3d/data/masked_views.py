"""Masked views of a loaded sweep, beside what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pc3d.data.occupancy import MASKED, OccupancySettings, QuerySample, masked_queries, twins
from pc3d.data.records import Float32
from pc3d.data.transforms import ViewSample
from pc3d.geometry.rigid import transform_points


@dataclass(frozen=True, eq=False)
class OccupancySample:
    """What is asked of the masked views of one sample.

    Attributes:
        sizes: side of the cells of each scale in metres, the finest first.
        queries: by view, of each scale.
        twins: of each scale (M, 2) rows of queries of both views that are the same; None with one view.
    """

    sizes: tuple[float, ...]
    queries: dict[str, list[QuerySample]]
    twins: list[NDArray[np.int64]] | None


def masked_views(
    view: ViewSample,
    points: Float32,
    origins: Float32,
    settings: OccupancySettings,
    rng: np.random.Generator,
    hidden: NDArray[np.bool_] | None = None,
) -> tuple[dict[str, ViewSample], OccupancySample]:
    """Views "m" (and "n"): the rows of a view whose cells are not masked, in the frame of that view.

    Args:
        view: that is masked.
        points: (P, C) the sweep as loaded, all of which is asked for, whatever the view shows of it.
        origins: (P, 3) metres, the frame of `points`: where the ray of each point starts.
        rng: each mask has a generator of its own, spawned from it; nothing else is drawn.
        hidden: (P,) bool, points that are taken for not there.
    """
    there = np.arange(len(points)) if hidden is None else np.flatnonzero(~hidden)
    xyz = transform_points(view.view_T_lidar, points[there, :3])
    starts = transform_points(view.view_T_lidar, origins[there])
    shown = np.searchsorted(there, view.row)
    views, queries = {}, {}
    for name, own in zip(MASKED[: settings.masks], rng.spawn(settings.masks), strict=True):
        rows, queries[name] = masked_queries(xyz, shown, starts, settings, own)
        kept = np.searchsorted(shown, rows)
        views[name] = replace(view, points=view.points[kept], row=view.row[kept])
    both = twins(*queries.values()) if settings.masks == 2 else None
    return views, OccupancySample(settings.mask.sizes, queries, both)
