"""A drive as a recording for the rerun viewer: points, cameras, boxes, labels and regions over time.

rerun-sdk is an extra (`pip install "pc3d[rerun]"`); a viewer opens the recordings of its own version.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.images import load_image
from pc3d.data.index import SweepIndex
from pc3d.data.labels import load_labels
from pc3d.data.points import load_sweep
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.geometry.camera import project
from pc3d.storage.whole import clean, write_bytes
from pc3d.viz.class_colours import box_colours, colour_table
from pc3d.viz.colours import NEUTRAL, Rgb, categorical_colours
from pc3d.viz.sweep_colours import ColourOptions, point_colours, region_ids

LIDAR = "world/ego/lidar"
_WIDTH = 960  # pixels of an image in a recording
_IGNORED = 65535  # class id of points without a class


@dataclass(frozen=True)
class RecordingOptions:
    """What goes into a recording.

    Attributes:
        colours: of the points.
        boxes, images: whether they are in it. width: of images, in pixels.
    """

    colours: ColourOptions
    boxes: bool = True
    images: bool = True
    width: int = _WIDTH


def write_recording(
    index: SweepIndex, rows: Sequence[int], path: str | Path, options: RecordingOptions
) -> None:
    """Write sweeps of an index as an `.rrd` file, whole or not at all.

    World coordinates start at the first pose, because the viewer knows float32 only; images of a bent lens
    are straightened, because it knows pinholes only.

    Args:
        rows: ascending.

    Raises:
        DataError: a file is missing or broken, or what is asked for is not there.
        ImportError: rerun-sdk is not installed.
    """
    rr = _rerun()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clean(path.parent)
    stream = rr.new_recording("pc3d", recording_id=f"pc3d-{index.fingerprint[:16]}-{rows[0]}-{rows[-1]}")
    memory = stream.memory_recording()
    first = index[rows[0]]
    origin, start = first.world_SE3_ego[:3, 3].copy(), first.timestamp
    _still(rr, stream, index, rows, origin)
    for row in rows:
        sweep = index[row]
        stream.set_time_sequence("row", row)
        stream.set_time_seconds("time", 1e-6 * (sweep.timestamp - start))
        _sweep(rr, stream, sweep, origin, options)
    write_bytes(path, memory.drain_as_bytes(), durable=False)


def _rerun() -> Any:
    try:
        import rerun
    except ImportError as error:
        raise ImportError('recordings need rerun-sdk: pip install "pc3d[rerun]"') from error
    return rerun


def _still(rr: Any, stream: Any, index: SweepIndex, rows: Sequence[int], origin: Float64) -> None:
    """What has no time: axes, names and colours of classes, the way, and where all is from."""
    stream.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    classes = ClassSet.of(index.metadata)
    if classes is not None and classes.classes:
        table = colour_table(classes)
        context = [(at, name, table[name]) for at, name in enumerate(classes.classes)]
        context.append((_IGNORED, "ignored", NEUTRAL))
        stream.log(f"{LIDAR}/labels", rr.AnnotationContext(context), static=True)
    way = np.array([index[row].world_SE3_ego[:3, 3] - origin for row in rows])
    if len(way) > 1:
        stream.log("world/way", rr.LineStrips3D([way], colors=[(79, 209, 193)]), static=True)
    text = (
        f"Rows {rows[0]} to {rows[-1]} of the index {index.folder}, fingerprint {index.fingerprint}.\n\n"
        f"The origin is {origin.tolist()} in the world of the data set, metres."
    )
    stream.log("about", rr.TextDocument(text, media_type="text/markdown"), static=True)


def _sweep(rr: Any, stream: Any, sweep: Sweep, origin: Float64, options: RecordingOptions) -> None:
    stream.log("world/ego", _transform(rr, sweep.world_SE3_ego, origin))
    stream.log(LIDAR, _transform(rr, sweep.ego_SE3_lidar, np.zeros(3)))
    points, colours = load_sweep(sweep), options.colours
    shown = point_colours(points, sweep, colours)
    stream.log(f"{LIDAR}/points", rr.Points3D(points[:, :3], colors=shown, radii=0.04))
    if sweep.lidarseg_path is not None and colours.classes is not None and colours.classes.classes:
        labels = load_labels(sweep, len(points), colours.classes)
        ids = np.where(labels < 0, _IGNORED, labels).astype(np.uint16)
        stream.log(f"{LIDAR}/labels", rr.Points3D(points[:, :3], class_ids=ids, radii=0.05))
    if colours.regions is not None:
        regions = region_ids(points, sweep, colours.regions)
        cloud = rr.Points3D(points[:, :3], colors=categorical_colours(regions), radii=0.05)
        stream.log(f"{LIDAR}/regions", cloud, rr.AnyValues(region=regions.astype(np.int32)))
    if options.boxes and sweep.boxes is not None:
        _boxes(rr, stream, sweep, colours.classes)
    for camera in sweep.cameras if options.images else ():
        _camera(rr, stream, sweep, camera, origin, options.width)


def _transform(rr: Any, pose: Float64, origin: Float64) -> Any:
    return rr.Transform3D(translation=pose[:3, 3] - origin, mat3x3=pose[:3, :3])


def _boxes(rr: Any, stream: Any, sweep: Sweep, classes: ClassSet | None) -> None:
    boxes = sweep.boxes
    assert boxes is not None
    half = boxes.yaws / 2
    zero = np.zeros_like(half)
    turns = np.column_stack([zero, zero, np.sin(half), np.cos(half)])  # x y z w
    stream.log(
        f"{LIDAR}/boxes",
        rr.Boxes3D(
            centers=boxes.centers,
            half_sizes=boxes.sizes / 2,
            quaternions=[rr.Quaternion(xyzw=turn) for turn in turns],
            colors=box_colours(boxes.names, classes),
            labels=[f"{name} {track}".strip() for name, track in zip(boxes.names, boxes.tracks, strict=True)],
            show_labels=False,
        ),
    )


def _camera(rr: Any, stream: Any, sweep: Sweep, camera: Camera, origin: Float64, width: int) -> None:
    from PIL import Image

    scale = min(1.0, width / camera.size[0])
    size = (max(1, round(camera.size[0] * scale)), max(1, round(camera.size[1] * scale)))
    K = np.diag([size[0] / camera.size[0], size[1] / camera.size[1], 1.0]) @ camera.intrinsics
    entity = f"world/cameras/{camera.name}"
    stream.log(entity, _transform(rr, camera.world_SE3_ego @ camera.ego_SE3_cam, origin))
    stream.log(
        entity,
        rr.Pinhole(
            image_from_camera=K, resolution=size, camera_xyz=rr.ViewCoordinates.RDF, image_plane_distance=1.5
        ),
    )
    rgb = load_image(camera.path, sweep.token, size, camera.size, camera.key)
    rgb = straight_image(rgb, camera, size)
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, "JPEG", quality=85)
    stream.log(f"{entity}/image", rr.EncodedImage(contents=content.getvalue(), media_type="image/jpeg"))


def straight_image(rgb: Rgb, camera: Camera, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width, 3) uint8: the image of a camera as a pinhole with its intrinsics sees it.

    Args:
        rgb: (H, W, 3) of the camera, at any resolution.
        size: (width, height) of the result. Black where the lens shows nothing.
    """
    from PIL import Image

    if camera.lens.is_pinhole:
        return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
    width, height = camera.size
    u = (np.arange(size[0]) + 0.5) * width / size[0]
    v = (np.arange(size[1]) + 0.5) * height / size[1]
    pixels = np.stack([*np.meshgrid(u, v), np.ones((size[1], size[0]))], axis=-1).reshape(-1, 3)
    rays = np.linalg.solve(camera.intrinsics, pixels.T).T
    uv, _ = project(rays, camera.intrinsics, camera.lens)
    with np.errstate(invalid="ignore"):
        inside = (uv >= 0).all(axis=1) & (uv < camera.size).all(axis=1)
    at = np.floor(uv[inside] * [rgb.shape[1] / width, rgb.shape[0] / height]).astype(np.int64)
    straight = np.zeros((len(pixels), 3), np.uint8)
    straight[inside] = rgb[at[:, 1], at[:, 0]]
    return straight.reshape(size[1], size[0], 3)
