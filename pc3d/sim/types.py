"""The seam between the simulated world, its sensors and the writer of the data set.

Frames: `world` is x east, y north, z up, the road surface near z = 0; `ego` is x forward, y left,
z up at the rear axle on the ground; a camera looks along +z with x right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Track:
    """An annotated object over time.

    Attributes:
        instance: index of the object in its scene, 0-based; the sensors report it per hit.
        category: nuScenes category, e.g. `vehicle.car`.
        size: (3,) length, width, height in metres.
        times: (T,) seconds since the start of the scene, the key frames' and sweeps' times.
        centers: (T, 3) world. yaws: (T,) world. velocities: (T, 2) world, m/s (true).
        attribute: (T,) nuScenes attribute names, "" where the category has none.
    """

    instance: int
    category: str
    size: Float
    times: Float
    centers: Float
    yaws: Float
    velocities: Float
    attribute: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MapLayers:
    """Truth of the map, polygons as (K, 2) float64 rings in world x, y (open, no repeated point).

    `polygons` keys: drivable_area, road_segment, road_block, lane, ped_crossing, walkway,
    stop_line, carpark_area. `lines` keys: road_divider, lane_divider (open polylines (K, 2)).
    `traffic_lights`: (N, 3) positions.
    """

    polygons: dict[str, list[Float]]
    lines: dict[str, list[Float]]
    traffic_lights: Float


@dataclass(frozen=True, eq=False)
class LidarScan:
    """One simulated sweep.

    Attributes:
        points: (P, 5) float32 x y z (m, LiDAR frame) intensity 0..255 ring 0..31.
        labels: (P,) uint8 index into the devkit's 32 lidarseg categories.
        instances: (P,) int32 `Track.instance`, -1 for the static world.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.uint8]
    instances: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class CameraShot:
    """One simulated image.

    Attributes:
        rgb: (H, W, 3) uint8.
        labels: (H, W) uint8 lidarseg category per pixel, 255 for the sky.
        instances: (H, W) int32 `Track.instance`, -1 for the static world and the sky.
        depth: (H, W) float32 distance along the optical axis in metres, inf for the sky.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: NDArray[np.int32]
    depth: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SensorRig:
    """Where the sensors sit: ego_SE3_lidar, and per camera ego_SE3_cam, K and image size."""

    ego_SE3_lidar: Float
    cameras: dict[str, tuple[Float, Float]]
    image_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class SimScene:
    """A scene ready to be sensed: what the writer gets from `build_scene(...)`.

    Attributes:
        name: e.g. `sim-0001`. description: a sentence about it.
        key_times: (K,) seconds, 2 Hz. sweep_times: (S,) seconds of the sweeps between key frames
            (at multiples of 0.05 s), ascending, without the key times.
        world_SE3_ego: function of time (s) to a (4, 4) pose is `ego_pose`.
        tracks: all annotated objects. layers: the map.
    """

    name: str
    description: str
    seed: int
    key_times: Float
    sweep_times: Float
    tracks: tuple[Track, ...]
    layers: MapLayers
    rig: SensorRig
    world: object = field(repr=False)
    """The geometry, private to the sensors (`pc3d.sim.world`)."""

    def ego_pose(self, time: float) -> Float:
        """(4, 4) world_SE3_ego at `time` seconds."""
        return self.world.ego_pose(time)  # type: ignore[attr-defined]
