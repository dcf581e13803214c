"""What the cameras of a sweep give to a frame: images, point-pixel pairs and id maps of the drawn ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.frame_types import FrameSources, ImageDraw, ImagesSample, PairsSample
from pc3d.data.images import ImageMap, check_aspect, load_image
from pc3d.data.pairing import CameraPairs, cam_SE3_lidar, pair_camera
from pc3d.data.records import Camera, Float32, Sweep
from pc3d.data.teacher_cache import NO_CAMERA, Float16, TeacherCache
from pc3d.data.transforms import ViewSample
from pc3d.geometry.lens import PINHOLE


def drawn(sweep: Sweep, draw: ImageDraw) -> list[tuple[int, Camera, ImageMap]]:
    """Position, camera and image map of the drawn cameras that the sweep has."""
    by_name = {camera.name: camera for camera in sweep.cameras}
    return [
        (number, by_name[name], draw.image_map(number, by_name[name].size))
        for number, name in enumerate(draw.cameras)
        if name in by_name
    ]


def seen_pairs(
    sources: FrameSources, points: Float32, sweep: Sweep, draw: ImageDraw
) -> dict[int, CameraPairs]:
    """Pairs of the drawn cameras, by their position in the draw, in pixels of the source images."""
    seen = {}
    for number, camera, _ in drawn(sweep, draw):
        mask = sources.ego_masks.get(camera.name)
        if mask is not None:
            where = f"{sources.config.ego_masks}/{camera.name}.png"
            check_aspect(mask.shape, camera.size, "the ego mask", where)
        seen[number] = pair_camera(points, sweep, camera, sources.config.pairing, mask)
    return seen


def with_boxes(
    sources: FrameSources,
    sweep: Sweep,
    draw: ImageDraw,
    seen: Mapping[int, CameraPairs],
    views: Mapping[str, ViewSample],
    rng: np.random.Generator,
) -> ImageDraw:
    """The draw with the part that each of its images shows, where parts are drawn."""
    crop = sources.config.image_crop
    if crop is None:
        return draw
    boxes = {}
    for number, camera, _ in drawn(sweep, draw):
        pairs = seen[number]
        uv = pairs.uv[np.isin(pairs.row, views["a"].row)]
        boxes[camera.name] = crop.draw(camera.size, uv, rng)
    return replace(draw, boxes=boxes)


def picture(sweep: Sweep, camera: Camera, image_map: ImageMap) -> NDArray[np.uint8]:
    """(H, W, 3) image of a camera of a sweep as a frame shows it."""
    image = load_image(camera.path, sweep.token, at_least=image_map.enough, size=camera.size, key=camera.key)
    return image_map.image(image)


def images_of(
    sweep: Sweep,
    draw: ImageDraw,
    pixels: bool,
    shown: Sweep | None = None,
    teacher: TeacherCache | None = None,
) -> ImagesSample:
    """The cameras of a sweep, and their images where `pixels` are asked for.

    Args:
        shown: whose images, the sweep's own with None.
        teacher: whose maps are read instead of the images.
    """
    shown, count = shown or sweep, len(draw.cameras)
    mask = np.zeros(count, dtype=np.bool_)
    intrinsics, poses = np.tile(np.eye(3), (count, 1, 1)), np.tile(np.eye(4), (count, 1, 1))
    lens = np.tile(PINHOLE.row, (count, 1))
    for number, camera, image_map in drawn(sweep, draw):
        mask[number] = True
        intrinsics[number] = image_map.intrinsics(camera.intrinsics)
        poses[number] = cam_SE3_lidar(sweep, camera)
        lens[number] = camera.lens.row
    rgb = _pictures(shown, draw) if pixels and teacher is None else None
    levels = _maps(teacher, shown, draw) if pixels and teacher is not None else None
    return ImagesSample(rgb, mask, intrinsics, poses, lens, levels)


def _pictures(sweep: Sweep, draw: ImageDraw) -> NDArray[np.uint8]:
    """(V, H, W, 3) images of the drawn cameras, black where one is missing."""
    rgb = np.zeros((len(draw.cameras), *draw.size, 3), dtype=np.uint8)
    for number, camera, image_map in drawn(sweep, draw):
        rgb[number] = picture(sweep, camera, image_map)
    return rgb


def _maps(teacher: TeacherCache, sweep: Sweep, draw: ImageDraw) -> list[Float16]:
    """(V, C, h, w) each level of the drawn cameras."""
    there = {number: camera.name for number, camera, _ in drawn(sweep, draw)}
    loaded = [
        teacher.load(sweep.token if number in there else "", there.get(number, NO_CAMERA))
        for number in range(len(draw.cameras))
    ]
    return [np.stack(maps) for maps in zip(*loaded, strict=True)]


def pairs_of(seen: Mapping[int, CameraPairs], sweep: Sweep, draw: ImageDraw) -> PairsSample:
    """The pairs of `seen_pairs` that lie within the images as they are drawn."""
    height, width = draw.size
    rows, cameras, uvs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 2), np.float32)]
    for number, _, image_map in drawn(sweep, draw):
        pairs = seen[number]
        # Rounding to float32 may reach the far edge, which is outside: cut afterwards.
        uv = image_map.uv(pairs.uv).astype(np.float32)
        inside = ((uv >= 0) & (uv < [width, height])).all(axis=1)
        rows.append(pairs.row[inside])
        cameras.append(np.full(int(inside.sum()), number, dtype=np.int64))
        uvs.append(uv[inside])
    return PairsSample(np.concatenate(rows), np.concatenate(cameras), np.concatenate(uvs))


def image_ids(sources: FrameSources, sweep: Sweep, draw: ImageDraw, name: str) -> NDArray[np.int16]:
    """(V, H, W) ids of the drawn cameras, -1 where a camera is missing."""
    cache = sources.caches[name]
    maps = cache.load_all(sweep.token)
    ids = np.full((len(draw.cameras), *draw.size), -1, dtype=np.int16)
    for number, camera, image_map in drawn(sweep, draw):
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
