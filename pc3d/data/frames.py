"""One frame of a sample: points, views, images, pairs, regions and labels of one sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.frame_types import (
    NOT_LOOKED_AT,
    FrameConfig,
    FrameSample,
    FrameSources,
    ImageDraw,
    ImagesSample,
    PairsSample,
)
from pc3d.data.images import ImageMap, check_aspect, load_image, resize_and_crop
from pc3d.data.label_maps import load_lidarseg
from pc3d.data.pairing import cam_SE3_lidar, pair_camera
from pc3d.data.records import Boxes, Camera, Float32, Float64, Sweep
from pc3d.data.sweeps import stack_sweeps
from pc3d.data.transforms import ViewSample, make_view

__all__ = [
    "NO_PSEUDO_LABEL",
    "FrameConfig",
    "FrameSample",
    "FrameSources",
    "ImageDraw",
    "ImagesSample",
    "PairsSample",
    "load_dense_frame",
    "load_frame",
]

IMAGE_IDS = ("superpixels", "semantics")
POINT_IDS = ("regions", "supervoxels")
PADDING = {"labels": -1, "moving": False}
"""What points of earlier sweeps and of pasted objects have instead of `NOT_LOOKED_AT`."""
NO_PSEUDO_LABEL = 255
"""Stored where a point has no pseudo-label."""


def load_frame(
    sources: FrameSources,
    sweep: Sweep,
    draw: ImageDraw,
    rng: np.random.Generator,
    tracks_from: str | None = None,
    earlier: Sequence[Sweep] = (),
) -> FrameSample:
    """Load what `sources.needs` asks for of one sweep.

    Args:
        tracks_from: sweep token of frame "t" where this is its "t+1"; None for "t" itself.
        earlier: sweeps before it that its views show too, the nearest first. Their points are rows after
            its own, `NOT_LOOKED_AT` in every kind of ids, without a label, in no pair. So are the points of
            pasted objects, which come last.

    Raises:
        DataError: a file is missing or broken, or does not fit the sweep.
    """
    needs = sources.needs
    points, own = stack_sweeps(sweep, earlier, sources.config.features)
    boxes = _boxes(sweep) if needs.boxes else None
    points, boxes, hidden = _pasted(sources, points, boxes, rng)
    of_points = _ids_of_points(sources, sweep, own, tracks_from)
    ids: dict[str, Any] = {
        **{name: _image_ids(sources, sweep, draw, name) for name in IMAGE_IDS if getattr(needs, name)},
        **{name: _pad(name, array, len(points)) for name, array in of_points.items()},
    }
    views = _views(sources, points, rng, hidden)
    return FrameSample(
        views=views,
        num_points=len(points),
        world_SE3_lidar=sweep.world_SE3_ego @ sweep.ego_SE3_lidar,
        draw=draw,
        images=_images(sweep, draw, needs.images) if draw.cameras else None,
        pairs=_pairs(sources, points[:own], sweep, draw) if draw.cameras else None,
        **ids,
        boxes=boxes,
        maps=_maps(sources, sweep, views["a"].view_T_lidar) if needs.maps else None,
    )


def load_dense_frame(
    sources: FrameSources, sweep: Sweep, earlier: list[Sweep], now: FrameSample, rng: np.random.Generator
) -> FrameSample:
    """The key frame with earlier sweeps moved into its frame; images and superpixels are those of `now`.

    The first rows are the key frame's own; the sweeps follow, the nearest in time first.
    """
    points, _ = stack_sweeps(sweep, earlier, sources.config.features, without_ego=False)
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


def _ids_of_points(
    sources: FrameSources, sweep: Sweep, own: int, tracks_from: str | None
) -> dict[str, NDArray[Any]]:
    """(own,) everything that is asked for of the sweep's own points, by the name of its field."""
    needs = sources.needs
    return {
        **{name: _point_ids(sources, sweep, own, name) for name in POINT_IDS if getattr(needs, name)},
        **(_tracks(sources, sweep, own, tracks_from) if needs.tracks else {}),
        **({"labels": _labels(sources, sweep, own)} if needs.labels else {}),
    }


def _pad(name: str, array: NDArray[Any], length: int) -> NDArray[Any]:
    """The array of a field, filled up to `length`."""
    if len(array) == length:
        return array
    none = np.full(length - len(array), PADDING.get(name, NOT_LOOKED_AT), dtype=array.dtype)
    return np.concatenate([array, none])


def _pasted(
    sources: FrameSources, points: Float32, boxes: Boxes | None, rng: np.random.Generator
) -> tuple[Float32, Boxes | None, NDArray[np.bool_] | None]:
    """Points and boxes with objects pasted where asked for, and which points those hide."""
    if sources.objects is None or sources.config.paste is None or boxes is None:
        return points, boxes, None
    pasted = sources.objects.paste(sources.config.paste, points, boxes, rng)
    return pasted.points, pasted.boxes, pasted.hidden


def _views(
    sources: FrameSources, points: Float32, rng: np.random.Generator, hidden: NDArray[np.bool_] | None = None
) -> dict[str, ViewSample]:
    settings = sources.config.augmentation
    shown = None if hidden is None or not hidden.any() else np.flatnonzero(~hidden)
    visible = points if shown is None else points[shown]
    views = {
        name: make_view(visible, settings[min(number, len(settings) - 1)], sources.config.points, rng)
        for number, name in enumerate(("a", "b")[: sources.needs.views])
    }
    if shown is None:
        return views
    return {name: replace(view, row=shown[view.row]) for name, view in views.items()}


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
            image = load_image(camera.path, sweep.token, at_least=image_map.resized, size=camera.size)
            rgb[number] = image_map.image(image)
    return ImagesSample(rgb, mask, intrinsics, poses)


def _pairs(sources: FrameSources, points: Float32, sweep: Sweep, draw: ImageDraw) -> PairsSample:
    height, width = draw.size
    rows, cameras, uvs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 2), np.float32)]
    for number, camera, image_map in _drawn(sweep, draw):
        mask = sources.ego_masks.get(camera.name)
        if mask is not None:
            where = f"{sources.config.ego_masks}/{camera.name}.png"
            check_aspect(mask.shape, camera.size, "the ego mask", where)
        pairs = pair_camera(points, sweep, camera, sources.config.pairing, mask)
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
        found = maps[camera.name]
        # The cells of an image network may cover a stretched image.
        size = camera.size if name == "superpixels" else None
        check_aspect(found.shape, size, f"{name} of camera {camera.name}", cache.path(sweep.token))
        ids[number] = image_map.ids(found)
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


def _maps(sources: FrameSources, sweep: Sweep, view_T_lidar: Float64) -> NDArray[np.bool_]:
    """(6, rows, cols) masks of the scene's map in the frame of a view."""
    world_T_view = sweep.world_SE3_ego @ sweep.ego_SE3_lidar @ np.linalg.inv(view_T_lidar)
    return sources.scene_maps[sweep.scene].targets(world_T_view, sources.config.map_grid)


def _boxes(sweep: Sweep) -> Boxes:
    if sweep.boxes is None:
        fail("the sweep has no annotated boxes", f"sweep {sweep.token}", "choose a split that is annotated")
    return sweep.boxes
