"""Speed of the regions on one core, measured beside scikit-learn in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.images import load_image
from pc3d.data.points import load_points
from pc3d.regions.clusters import dbscan
from pc3d.regions.ground import ground_mask
from pc3d.regions.lidar_regions import RegionParams, lidar_regions
from pc3d.regions.objects import objects
from pc3d.regions.superpixels import SuperpixelParams, superpixels
from pc3d.regions.supervoxels import supervoxels
from pc3d.regions.tracks import tracks

_HEIGHT = 1.84  # of the LiDAR of nuScenes, metres


def run(real_data: Path) -> dict[str, Any]:
    """Time the regions of the real nuScenes key frame.

    Args:
        real_data: folder of the real samples.

    Returns:
        Times in seconds (best of several), sizes, the ratio to scikit-learn's DBSCAN on the same points,
        and whether the labels are the same.

    Raises:
        DataError: the sample is not there.
    """
    from sklearn.cluster import DBSCAN

    samples = real_data / "nuscenes" / "samples"
    points = load_points(next(iter(sorted((samples / "LIDAR_TOP").glob("*")))), "nuscenes")
    image = load_image(next(iter(sorted((samples / "CAM_FRONT").glob("*")))))
    params = RegionParams()
    ground = ground_mask(points, _HEIGHT, params)
    xy = points[~ground, :2].astype(np.float64)

    ours, labels = _best(lambda: dbscan(xy, params.cluster_eps, params.cluster_min_samples), 50)
    reference = DBSCAN(eps=params.cluster_eps, min_samples=params.cluster_min_samples, n_jobs=1)
    theirs, expected = _best(lambda: reference.fit(xy).labels_, 5)
    regions_time, regions = _best(lambda: lidar_regions(points, _HEIGHT, params), 20)
    ground_time, _ = _best(lambda: ground_mask(points, _HEIGHT, params), 20)
    supervoxel_time, segments = _best(lambda: supervoxels(points, _HEIGHT), 20)
    object_time, found = _best(lambda: objects(points, _HEIGHT), 20)
    track_time, _ = _best(lambda: tracks(points, points, np.eye(4), 0.5, _HEIGHT), 5)
    result = {
        "points": len(points),
        "points clustered": len(xy),
        "clusters": int(labels.max()) + 1,
        "regions": int(regions.max()) + 1,
        "labels equal": bool((labels == expected).all()),
        "dbscan (s)": ours,
        "dbscan of scikit-learn (s)": theirs,
        "dbscan speed-up": theirs / ours,
        "ground (s)": ground_time,
        "regions of a sweep (s)": regions_time,
        "supervoxels": int(segments.max()) + 1,
        "supervoxels of a sweep (s)": supervoxel_time,
        "objects": int(found.max()) + 1,
        "objects of a sweep (s)": object_time,
        "tracks of the sweep and itself (s)": track_time,
    }
    for width in (None, 800, 448):
        seconds, _ = _best(lambda width=width: superpixels(image, SuperpixelParams(width=width)), 2)  # type: ignore[misc]
        result[f"superpixels of an image, width {width or image.shape[1]} (s)"] = seconds
    return result


def _best(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least time of `repeats` calls after a first one that compiles, and the result."""
    result = call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times), result
