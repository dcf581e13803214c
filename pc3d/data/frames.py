"""One frame of a sample: points, views, images, pairs, regions and labels of one sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.batch import Needs
from pc3d.data.errors import fail
from pc3d.data.images import ImageMap, load_image, resize_and_crop
from pc3d.data.label_maps import load_lidarseg
from pc3d.data.pairing import PairingConfig, cam_SE3_lidar, pair_camera
from pc3d.data.points import load_points
from pc3d.data.records import Boxes, Camera, Float32, Float64, Sweep
from pc3d.data.region_cache import RegionCache
from pc3d.data.transforms import NO_AUGMENTATION, PointAugmentation, PointFilter, ViewSample, make_view
from pc3d.geometry.rigid import invert_SE3, transform_points

IMAGE_IDS = ("superpixels", "semantics")
POINT_IDS = ("regions", "supervoxels")
FEATURE_COLUMNS = {"intensity": 3, "ring": 4}
NO_PSEUDO_LABEL = 255
"""Stored where a point has no pseudo-label."""


@dataclass(frozen=True)
class FrameConfig:
    """How a key frame becomes a sample.

    Attributes:
        num_cameras: random cameras taken of each sample (the same in its neighbour frames), None: all.
        cameras: names to choose from, None: all.
        image_size: (height, width) that images are resized and cropped to.
        image_flip: probability of mirroring an image.
        features: point channels after x y z; "intensity" and, of nuScenes sweeps, "ring".
        augmentation: of each view, in the order "a", "b"; one entry serves both.
        points: range and number of the points of a view.
        pairing: how points and pixels are paired.
        ego_masks: folder with a picture `CAMERA.png` of any resolution for cameras that see the ego
            vehicle: not black where it is. Its pixels take part in no pair.
        dense_sweeps: plain sweeps before the key frame that the "dense" frame adds.
    """

    num_cameras: int | None = None
    cameras: tuple[str, ...] | None = None
    image_size: tuple[int, int] = (224, 448)
    image_flip: float = 0.0
    features: tuple[str, ...] = ("intensity",)
    augmentation: tuple[PointAugmentation, ...] = (NO_AUGMENTATION,)
    points: PointFilter = field(default_factory=PointFilter)
    pairing: PairingConfig = field(default_factory=PairingConfig)
    ego_masks: str | None = None
    dense_sweeps: int = 2


@dataclass(frozen=True, eq=False)
class FrameSources:
    """What frames are loaded from: needs, settings, label map, and the caches of ids by need.

    A cache `pseudo_labels` stands in for the label files.
    """

    needs: Needs
    config: FrameConfig
    label_map: str | None
    caches: Mapping[str, RegionCache] = field(default_factory=dict)
    ego_masks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def of_frame(self, name: str) -> FrameSources:
        """The same for one frame of a sample."""
        return replace(self, needs=self.needs.of_frame(name))


@dataclass(frozen=True)
class ImageDraw:
    """Which cameras a frame shows, in this order, which of them mirrored, at which (height, width)."""

    cameras: tuple[str, ...]
    flips: tuple[bool, ...]
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class PairsSample:
    """Pairs of one sample: row (M,), camera (M,) position in the draw, uv (M, 2) in the resized image."""

    row: NDArray[np.int64]
    camera: NDArray[np.int64]
    uv: Float32


@dataclass(frozen=True, eq=False)
class ImagesSample:
    """V images of one sample: rgb (V, H, W, 3) uint8 or None, mask (V,), K (V, 3, 3), poses (V, 4, 4)."""

    rgb: NDArray[np.uint8] | None
    mask: NDArray[np.bool_]
    intrinsics: Float64
    cam_SE3_lidar: Float64


@dataclass(frozen=True, eq=False)
class FrameSample:
    """What `FrameBatch` holds, of one sample, as arrays."""

    views: dict[str, ViewSample]
    num_points: int
    world_SE3_lidar: Float64
    draw: ImageDraw
    images: ImagesSample | None = None
    pairs: PairsSample | None = None
    superpixels: NDArray[np.int64] | None = None
    semantics: NDArray[np.int64] | None = None
    regions: NDArray[np.int64] | None = None
    supervoxels: NDArray[np.int64] | None = None
    tracks: NDArray[np.int64] | None = None
    moving: NDArray[np.bool_] | None = None
    labels: NDArray[np.int64] | None = None
    boxes: Boxes | None = None


def load_frame(
    sources: FrameSources,
    sweep: Sweep,
    draw: ImageDraw,
    rng: np.random.Generator,
    tracks_from: str | None = None,
) -> FrameSample:
    """Load what `sources.needs` asks for of one sweep.

    Args:
        tracks_from: sweep token of frame "t" where this is its "t+1"; None for "t" itself.

    Raises:
        DataError: a file is missing or broken, or does not fit the sweep.
    """
    needs = sources.needs
    points = _load_features(sources, sweep)
    ids: dict[str, Any] = {
        **{name: _image_ids(sources, sweep, draw, name) for name in IMAGE_IDS if getattr(needs, name)},
        **{name: _point_ids(sources, sweep, len(points), name) for name in POINT_IDS if getattr(needs, name)},
        **(_tracks(sources, sweep, len(points), tracks_from) if needs.tracks else {}),
    }
    return FrameSample(
        views=_views(sources, points, rng),
        num_points=len(points),
        world_SE3_lidar=sweep.world_SE3_ego @ sweep.ego_SE3_lidar,
        draw=draw,
        images=_images(sweep, draw, needs.images) if draw.cameras else None,
        pairs=_pairs(sources, points, sweep, draw) if draw.cameras else None,
        **ids,
        labels=_labels(sources, sweep, len(points)) if needs.labels else None,
        boxes=_boxes(sweep) if needs.boxes else None,
    )


def load_dense_frame(
    sources: FrameSources, sweep: Sweep, earlier: list[Sweep], now: FrameSample, rng: np.random.Generator
) -> FrameSample:
    """The key frame with earlier sweeps moved into its frame; images and superpixels are those of `now`.

    The first rows are the key frame's own; the sweeps follow, the nearest in time first.
    """
    lidar_SE3_world = invert_SE3(now.world_SE3_lidar)
    clouds = [_load_features(sources, sweep)]
    for other in earlier:
        lidar_SE3_other = lidar_SE3_world @ other.world_SE3_ego @ other.ego_SE3_lidar
        clouds.append(transform_points(lidar_SE3_other, _load_features(sources, other)))
    points = np.concatenate(clouds)
    return FrameSample(
        views=_views(sources, points, rng),
        num_points=len(points),
        world_SE3_lidar=now.world_SE3_lidar,
        draw=now.draw,
        images=now.images,
        pairs=_pairs(sources, points, sweep, now.draw) if now.draw.cameras else None,
        superpixels=now.superpixels,
        semantics=now.semantics,
    )


def _load_features(sources: FrameSources, sweep: Sweep) -> Float32:
    """(P, 3 + features) float32."""
    points = load_points(sweep.path, sweep.lidar_format, sweep.token)
    columns = [0, 1, 2]
    for name in sources.config.features:
        if FEATURE_COLUMNS.get(name, points.shape[1]) >= points.shape[1]:
            fail(
                f"the points have no feature {name!r}",
                f"{sweep.path} (sweep {sweep.token})",
                "change `features`",
            )
        columns.append(FEATURE_COLUMNS[name])
    return points if columns == list(range(points.shape[1])) else points[:, columns]


def _views(sources: FrameSources, points: Float32, rng: np.random.Generator) -> dict[str, ViewSample]:
    settings = sources.config.augmentation
    return {
        name: make_view(points, settings[min(number, len(settings) - 1)], sources.config.points, rng)
        for number, name in enumerate(("a", "b")[: sources.needs.views])
    }


def _drawn(sweep: Sweep, draw: ImageDraw) -> list[tuple[int, Camera, ImageMap]]:
    """Position, camera and image map of the drawn cameras that the sweep has."""
    by_name = {camera.name: camera for camera in sweep.cameras}
    return [
        (number, by_name[name], resize_and_crop(by_name[name].size, *draw.size, flip))
        for number, (name, flip) in enumerate(zip(draw.cameras, draw.flips, strict=True))
        if name in by_name
    ]


def _images(sweep: Sweep, draw: ImageDraw, pixels: bool) -> ImagesSample:
    count = len(draw.cameras)
    rgb = np.zeros((count, *draw.size, 3), dtype=np.uint8) if pixels else None
    mask = np.zeros(count, dtype=np.bool_)
    intrinsics, poses = np.tile(np.eye(3), (count, 1, 1)), np.tile(np.eye(4), (count, 1, 1))
    for number, camera, image_map in _drawn(sweep, draw):
        mask[number] = True
        intrinsics[number] = image_map.intrinsics(camera.intrinsics)
        poses[number] = cam_SE3_lidar(sweep, camera)
        if rgb is not None:
            rgb[number] = image_map.image(load_image(camera.path, sweep.token, at_least=image_map.resized))
    return ImagesSample(rgb, mask, intrinsics, poses)


def _pairs(sources: FrameSources, points: Float32, sweep: Sweep, draw: ImageDraw) -> PairsSample:
    height, width = draw.size
    rows, cameras, uvs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 2), np.float32)]
    for number, camera, image_map in _drawn(sweep, draw):
        pairs = pair_camera(points, sweep, camera, sources.config.pairing, sources.ego_masks.get(camera.name))
        # Rounding to float32 may reach the far edge, which is outside: cut afterwards.
        uv = image_map.uv(pairs.uv).astype(np.float32)
        inside = ((uv >= 0) & (uv < [width, height])).all(axis=1)
        rows.append(pairs.row[inside])
        cameras.append(np.full(int(inside.sum()), number, dtype=np.int64))
        uvs.append(uv[inside])
    return PairsSample(np.concatenate(rows), np.concatenate(cameras), np.concatenate(uvs))


def _image_ids(sources: FrameSources, sweep: Sweep, draw: ImageDraw, name: str) -> NDArray[np.int64]:
    """(V, H, W) ids of the drawn cameras, -1 where a camera is missing."""
    cache = sources.caches[name]
    maps = cache.load_all(sweep.token)
    ids = np.full((len(draw.cameras), *draw.size), -1, dtype=np.int64)
    for number, camera, image_map in _drawn(sweep, draw):
        if camera.name not in maps:
            fail(
                f"no {name} of camera {camera.name}",
                cache.path(sweep.token),
                f"remove the file and run {cache.maker} again",
            )
        ids[number] = image_map.ids(maps[camera.name])
    return ids


def _point_ids(
    sources: FrameSources,
    sweep: Sweep,
    num_points: int,
    name: str,
    token: str | None = None,
    array: str = "regions",
) -> NDArray[np.int64]:
    """(num_points,) ids of a sweep's points: `array` of the cached file of `token`, by default its own."""
    cache = sources.caches[name]
    arrays = cache.load_all(token or sweep.token)
    if array not in arrays or arrays[array].shape != (num_points,):
        found = f"of shape {arrays[array].shape}" if array in arrays else "missing"
        fail(
            f"{name} ({array}) {found} for {num_points} points of sweep {sweep.token}",
            cache.path(token or sweep.token),
            f"remove the file and run {cache.maker} again",
        )
    return arrays[array].astype(np.int64)


def _tracks(
    sources: FrameSources, sweep: Sweep, num_points: int, tracks_from: str | None
) -> dict[str, NDArray[Any]]:
    """`tracks` and `moving` of frame "t", or of the "t+1" of the frame `tracks_from`."""
    suffix = "now" if tracks_from is None else "next"
    tracks, moving = (
        _point_ids(sources, sweep, num_points, "tracks", tracks_from, f"{array}_{suffix}")
        for array in ("track", "moving")
    )
    return {"tracks": tracks, "moving": moving.astype(np.bool_)}


def _labels(sources: FrameSources, sweep: Sweep, num_points: int) -> NDArray[np.int64]:
    if "pseudo_labels" in sources.caches:
        labels = _point_ids(sources, sweep, num_points, "pseudo_labels", array="labels")
        return np.where(labels == NO_PSEUDO_LABEL, -1, labels)
    if sweep.lidarseg_path is None or sources.label_map is None:
        fail(
            "the sweep has no point labels",
            f"sweep {sweep.token}",
            "add the lidarseg files and build the index again",
        )
    return load_lidarseg(sweep.lidarseg_path, num_points, sources.label_map, sweep.token)


def _boxes(sweep: Sweep) -> Boxes:
    if sweep.boxes is None:
        fail("the sweep has no annotated boxes", f"sweep {sweep.token}", "choose a split that is annotated")
    return sweep.boxes
