"""The kinds of regions: how each is made of a key frame, and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.images import load_image
from pc3d.data.records import Camera
from pc3d.data.region_cache import RegionCache
from pc3d.geometry.rigid import compose_SE3, invert_SE3
from pc3d.regions.ground import sensor_height
from pc3d.regions.key_frame import KeyFrame
from pc3d.regions.lidar_regions import RegionParams, lidar_regions
from pc3d.regions.objects import ObjectParams, objects
from pc3d.regions.semantics import SemanticParams, semantic_ids
from pc3d.regions.semantics.oracle import pixel_truth, truth_path
from pc3d.regions.statistics import (
    Counts,
    RegionCounts,
    SemanticCounts,
    SuperpixelCounts,
    count_regions,
    count_semantics,
    count_superpixels,
)
from pc3d.regions.superpixels import SuperpixelParams, superpixels
from pc3d.regions.supervoxels import SupervoxelParams, supervoxels
from pc3d.regions.track_statistics import TrackCounts, count_tracks
from pc3d.regions.tracks import TrackParams, tracks, tracks_of_one

Arrays = dict[str, NDArray]
Params = RegionParams | SupervoxelParams | ObjectParams | TrackParams | SuperpixelParams | SemanticParams


@dataclass(frozen=True)
class Kind:
    """One kind of regions.

    Attributes:
        params: class of its parameters, which are also the key of its cache.
        make: (key frame, parameters, cache) to the integer arrays that the cache holds of the frame.
        count: (key frame, those arrays) to its part of the statistics.
    """

    params: type[Params]
    make: Callable[[KeyFrame, Any, RegionCache], Arrays]
    count: Callable[[KeyFrame, Arrays], Counts]


def _clusters(frame: KeyFrame, params: RegionParams, _: RegionCache) -> Arrays:
    return {"regions": lidar_regions(frame.points, sensor_height(frame.now, params), params)}


def _supervoxels(frame: KeyFrame, params: SupervoxelParams, _: RegionCache) -> Arrays:
    return {"regions": supervoxels(frame.points, sensor_height(frame.now, params), params)}


def _objects(frame: KeyFrame, params: ObjectParams, _: RegionCache) -> Arrays:
    return {"regions": objects(frame.points, sensor_height(frame.now, params), params)}


def _count_regions(frame: KeyFrame, arrays: Arrays) -> RegionCounts:
    boxes = frame.now.boxes
    points = None if boxes is None else frame.points
    return count_regions(arrays["regions"], points, boxes, frame.categories)


def _tracks(frame: KeyFrame, params: TrackParams, _: RegionCache) -> Arrays:
    now, following = frame.now, frame.following
    height = sensor_height(now, params)
    if following.token == now.token:
        return tracks_of_one(frame.points, height, params)
    now_SE3_following = compose_SE3(
        invert_SE3(compose_SE3(now.world_SE3_ego, now.ego_SE3_lidar)),
        compose_SE3(following.world_SE3_ego, following.ego_SE3_lidar),
    )
    seconds = (following.timestamp - now.timestamp) / 1e6
    return tracks(frame.points, frame.following_points, now_SE3_following, seconds, height, params)


def _count_tracks(frame: KeyFrame, arrays: Arrays) -> TrackCounts:
    if frame.following.token == frame.now.token:
        return TrackCounts()
    if frame.now.boxes is None or frame.following.boxes is None:
        return count_tracks(arrays)
    points, boxes = (frame.points, frame.following_points), (frame.now.boxes, frame.following.boxes)
    return count_tracks(arrays, points, boxes)


def _superpixels(frame: KeyFrame, params: SuperpixelParams, _: RegionCache) -> Arrays:
    return {
        camera.name: superpixels(
            load_image(camera.path, frame.now.token, size=camera.size, key=camera.key), params
        )
        for camera in frame.now.cameras
    }


def _count_superpixels(frame: KeyFrame, arrays: Arrays) -> SuperpixelCounts:
    counts = (count_superpixels(ids, truth) for ids, truth in _with_truth(frame, arrays))
    return sum(counts, SuperpixelCounts())


def _semantics(frame: KeyFrame, params: SemanticParams, cache: RegionCache) -> Arrays:
    return dict(semantic_ids(frame.now, params, cache))


def _count_semantics(frame: KeyFrame, arrays: Arrays) -> SemanticCounts:
    return sum((count_semantics(ids, truth) for ids, truth in _with_truth(frame, arrays)), SemanticCounts())


def _with_truth(frame: KeyFrame, arrays: Arrays) -> list[tuple[NDArray, NDArray[np.int16] | None]]:
    """Each camera's ids, and the class of each pixel where it is known."""
    return [(arrays[camera.name], _truth(camera)) for camera in frame.now.cameras]


def _truth(camera: Camera) -> NDArray[np.int16] | None:
    return pixel_truth(camera) if truth_path(camera).is_file() else None


KINDS: dict[str, Kind] = {
    "clusters": Kind(RegionParams, _clusters, _count_regions),
    "supervoxels": Kind(SupervoxelParams, _supervoxels, _count_regions),
    "objects": Kind(ObjectParams, _objects, _count_regions),
    "tracks": Kind(TrackParams, _tracks, _count_tracks),
    "superpixels": Kind(SuperpixelParams, _superpixels, _count_superpixels),
    "semantics": Kind(SemanticParams, _semantics, _count_semantics),
}
