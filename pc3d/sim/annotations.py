"""Annotations of a simulated scene: who is labelled, how many points it has, how much of it is seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.geometry.boxes import corners, points_in_boxes
from pc3d.geometry.rigid import invert_SE3, make_SE3, transform_points, yaw_matrix
from pc3d.sim.tables import Row, attribute_token, category_token, link, token, visibility_token
from pc3d.sim.types import CameraShot, Float, SensorRig, Track

ANNOTATED_RANGE = 80.0
"""Metres around the ego vehicle within which objects are annotated."""

_NEAR = 0.1
_PIXELS = 64
"""An object's silhouette is looked at on a lattice of at most about this many pixels squared."""


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """What the annotation of one key frame needs.

    Attributes:
        sample: token of the sample. time: seconds since the start of the scene.
        world_SE3_ego: (4, 4). points: (P, >= 3) float32 in the LiDAR frame. shots: per camera.
    """

    sample: str
    time: float
    world_SE3_ego: Float
    points: NDArray[np.float32]
    shots: Mapping[str, CameraShot]


def annotate(
    frames: Iterable[KeyFrame], tracks: Sequence[Track], rig: SensorRig, namespace: str
) -> tuple[list[Row], list[Row]]:
    """Rows of `instance` and `sample_annotation` of one scene, from its key frames in order.

    An object is annotated in the key frames in which its centre is within `ANNOTATED_RANGE` of the ego
    vehicle, unless no key frame has a point or a pixel of it: an annotator could not have known of it.
    """
    rows_of: list[list[Row]] = [[] for _ in tracks]
    known = [False] * len(tracks)
    for frame in frames:
        world_SE3_lidar = frame.world_SE3_ego @ rig.ego_SE3_lidar
        cloud = transform_points(world_SE3_lidar, frame.points[:, :3].astype(np.float64))
        for i, track in enumerate(tracks):
            at = int(np.argmin(np.abs(track.times - frame.time)))
            offset = track.centers[at] - frame.world_SE3_ego[:3, 3]
            if np.hypot(offset[0], offset[1]) > ANNOTATED_RANGE:
                continue
            inside = int(points_in_boxes(cloud, track.centers[at], track.size, track.yaws[at]).sum())
            share = visible_share(track, at, frame, rig)
            rows_of[i].append(_annotation(track, at, frame.sample, inside, share, namespace))
            known[i] = known[i] or inside > 0 or share > 0
    instances: list[Row] = []
    annotations: list[Row] = []
    for i, track in enumerate(tracks):
        if known[i]:
            rows = rows_of[i]
            link(rows)
            annotations += rows
            instances.append(
                {
                    "token": rows[0]["instance_token"],
                    "category_token": category_token(track.category),
                    "nbr_annotations": len(rows),
                    "first_annotation_token": rows[0]["token"],
                    "last_annotation_token": rows[-1]["token"],
                }
            )
    return instances, annotations


def _annotation(track: Track, at: int, sample: str, lidar_points: int, share: float, namespace: str) -> Row:
    """Row of `sample_annotation` of a track at its time number `at`."""
    length, width, height = track.size.tolist()
    yaw = float(track.yaws[at])
    attribute = track.attribute[at]
    return {
        "token": token(namespace, "annotation", track.instance, sample),
        "sample_token": sample,
        "instance_token": token(namespace, "instance", track.instance),
        "visibility_token": visibility_token(share),
        "attribute_tokens": [attribute_token(attribute)] if attribute else [],
        "translation": track.centers[at].tolist(),
        "size": [width, length, height],
        "rotation": [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))],
        "num_lidar_pts": lidar_points,
        "num_radar_pts": 0,
    }


def visible_share(track: Track, at: int, frame: KeyFrame, rig: SensorRig) -> float:
    """Share (0 to 1) of an object at its time number `at` that is seen, over all cameras of a key frame.

    The silhouette of its box in each image is the unoccluded object: the share is that of the silhouette's
    pixels which show the object, or something behind the box's front face (an object does not fill its
    box); the rest is hidden by something nearer. It is 0 where no pixel shows the object.
    """
    world_SE3_box = make_SE3(yaw_matrix(float(track.yaws[at])), track.centers[at])
    clear = total = shown = 0
    for channel, shot in frame.shots.items():
        ego_SE3_cam, intrinsics = rig.cameras[channel]
        cam_SE3_box = invert_SE3(frame.world_SE3_ego @ ego_SE3_cam) @ world_SE3_box
        window = _window(cam_SE3_box, track.size, intrinsics, shot.depth.shape)
        if window is None:
            continue
        rows, cols = window
        depth, instances = shot.depth[rows, cols], shot.instances[rows, cols]
        entry, hit = _entry_depth(cam_SE3_box, track.size, intrinsics, rows, cols)
        own = instances == track.instance
        shown += int(own.sum())
        total += int(hit.sum())
        clear += int((hit & (own | (depth >= entry))).sum())
    return clear / total if shown and total else 0.0


def _window(
    cam_SE3_box: Float, size: Float, intrinsics: Float, shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Rows (R, 1) and columns (1, C) of the pixels that may show the box, None where none can."""
    edges = transform_points(cam_SE3_box, corners(np.zeros((1, 3)), size[None], np.zeros(1))[0])
    if (edges[:, 2] <= _NEAR).all():
        return None
    height, width = shape
    low, high = np.zeros(2), np.array([width, height], dtype=np.float64)
    if (edges[:, 2] > _NEAR).all():
        pixels = edges @ intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        low, high = np.maximum(low, pixels.min(axis=0)), np.minimum(high, pixels.max(axis=0))
    (left, top), (right, bottom) = np.floor(low).astype(int), np.ceil(high).astype(int)
    if left >= right or top >= bottom:
        return None
    step = max(1, round(float(np.sqrt((right - left) * (bottom - top)) / _PIXELS)))
    return np.arange(top, bottom, step)[:, None], np.arange(left, right, step)[None]


def _entry_depth(
    cam_SE3_box: Float, size: Float, intrinsics: Float, rows: NDArray[np.intp], cols: NDArray[np.intp]
) -> tuple[Float, NDArray[np.bool_]]:
    """Depth at which the pixels' rays enter the box, and whether they meet it (the slab method)."""
    pixels = np.stack(np.broadcast_arrays(cols + 0.5, rows + 0.5, 1.0), axis=-1)
    # A direction with z = 1 makes the ray's parameter the depth.
    rays = pixels @ (cam_SE3_box[:3, :3].T @ np.linalg.inv(intrinsics)).T
    origin = -cam_SE3_box[:3, :3].T @ cam_SE3_box[:3, 3]
    rays = np.where(np.abs(rays) < 1e-12, 1e-12, rays)
    near_far = np.stack([(-size / 2 - origin) / rays, (size / 2 - origin) / rays])
    entry = np.maximum(near_far.min(axis=0).max(axis=-1), 0.0)
    leave = near_far.max(axis=0).min(axis=-1)
    return entry, leave > entry
