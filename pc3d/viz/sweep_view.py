"""One sweep of an index as a picture: what `pc3d visualize` draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pc3d.data.classes import ClassSet
from pc3d.data.errors import fail
from pc3d.data.images import load_image
from pc3d.data.index import SweepIndex
from pc3d.data.pairing import cam_SE3_lidar
from pc3d.data.points import load_sweep
from pc3d.data.records import Boxes, Float32, Float64, Sweep
from pc3d.geometry.camera import in_image, project
from pc3d.geometry.rigid import invert_SE3, transform_points
from pc3d.viz.camera_boxes import box_wires
from pc3d.viz.canvas import save_picture
from pc3d.viz.class_colours import box_colours, box_legend, class_colours
from pc3d.viz.colours import NEUTRAL, Rgb
from pc3d.viz.contact_sheet import sweep_sheet
from pc3d.viz.plots import bev, camera_overlay, heading_of, side_by_side
from pc3d.viz.scene3d import Frustum, Scene3D
from pc3d.viz.sweep_colours import (
    ColourOptions,
    ground_height,
    point_colours,
    predict,
    shown_classes,
    true_labels,
)

_OWN_ROOF = 2.5  # metres


def sweep_scene(
    index: SweepIndex,
    row: int,
    options: ColourOptions,
    *,
    boxes: bool = False,
    cameras: bool = False,
    sweeps: int = 0,
) -> Scene3D:
    """The scene of sweep `row`, in its LiDAR frame.

    Args:
        boxes, cameras: whether they are in it.
        sweeps: earlier sweeps in it, moved into this one's frame by the poses.
    Raises:
        DataError: what is asked for is not there.
    """
    sweep = index[row]
    points = load_sweep(sweep)
    if boxes and sweep.boxes is None:
        fail("the sweep has no boxes", f"sweep {sweep.token}", "choose an annotated key frame")
    earlier = [index[other] for other in index.previous_sweeps(row, sweeps)]
    if earlier and all(np.array_equal(other.world_SE3_ego, sweep.world_SE3_ego) for other in earlier):
        fail(
            "the poses of the sweeps are all the same",
            f"sweep {sweep.token}",
            "leave --sweeps out, or add poses",
        )
    return Scene3D(
        points=points,
        colours=point_colours(points, sweep, options),
        boxes=sweep.boxes if boxes else None,
        frusta=_frusta(sweep) if cameras else (),
        clouds=tuple(_moved(other, sweep, options) for other in earlier),
        heading=heading_of(sweep.ego_SE3_lidar),
        ground=ground_height(sweep),
        classes=options.classes,
    )


def draw_flat(
    scene: Scene3D, path: Path, options: ColourOptions, title: str = "", extent: float = 50.0
) -> None:
    """The scene from above with range rings and a legend; needs no OpenGL."""
    clouds = [*reversed(scene.clouds), (scene.points, scene.colours)]
    classes = shown_classes(options)
    names = classes.classes if classes else ()
    colours = np.vstack([colours for _, colours in clouds])
    there = set(map(tuple, np.unique(colours, axis=0).tolist()))
    table = map(tuple, class_colours(names, classes).tolist())
    legend: dict[str, tuple[int, ...]] = {
        name: rgb for name, rgb in zip(names, table, strict=True) if rgb in there
    }
    if scene.boxes is not None:
        for name, rgb in box_legend(scene.boxes.names, options.classes).items():
            # A model may have a class of this name in another colour.
            legend[name if legend.get(name, rgb) == rgb else f"{name} (box)"] = rgb
    bev(
        np.vstack([points[:, :3] for points, _ in clouds]),
        colours,
        path,
        boxes=scene.boxes,
        title=title,
        extent=extent,
        heading=scene.heading,
        legend=legend or None,
        classes=options.classes,
    )


def draw_comparison(
    sweep: Sweep, path: Path, options: ColourOptions, title: str = "", extent: float = 50.0
) -> None:
    """What the segmenter predicts beside the truth, and where they differ.

    Raises:
        DataError: no labels, or no segmenter.
    """
    points = load_sweep(sweep)
    truth = true_labels(points, sweep, options)
    predicted = shown_classes(replace(options, colour="prediction"))
    assert options.classes is not None  # or there were no true labels
    if predicted is not None and predicted.classes != options.classes.classes:
        fail(
            f"the model was trained on the classes {predicted.name!r} ({', '.join(predicted.classes)}), the "
            f"data set has {options.classes.name!r} ({', '.join(options.classes.classes)})",
            f"{options.checkpoint}",
            "compare a model with data of its own classes",
        )
    side_by_side(
        points,
        predict(points, options),
        truth,
        options.classes,
        path,
        title=title,
        extent=extent,
        heading=heading_of(sweep.ego_SE3_lidar),
    )


def draw_sheet(
    sweep: Sweep, path: Path, classes: ClassSet | None = None, extent: float = 50.0, width: int = 1600
) -> None:
    """The sweep from above, and all of its images with points by depth and boxes.

    Raises:
        DataError: a file is missing or broken.
    """
    from PIL import Image

    save_picture(Image.fromarray(sweep_sheet(sweep, width, classes, extent=extent)), path)


def draw_camera(sweep: Sweep, scene: Scene3D, name: str, path: Path, title: str = "") -> None:
    """The points over the image of camera `name`, in the scene's colours; near points cover far ones.

    Where the scene has boxes, their edges are drawn through the lens.

    Raises:
        DataError: the sweep has no such camera.
    """
    camera = next((camera for camera in sweep.cameras if camera.name == name), None)
    if camera is None:
        names = ", ".join(camera.name for camera in sweep.cameras) or "none: choose a key frame"
        fail(f"no camera {name!r}", f"sweep {sweep.token}", f"cameras of this sweep: {names}")
    in_camera = transform_points(cam_SE3_lidar(sweep, camera), scene.points)
    uv, depth = project(in_camera, camera.intrinsics, camera.lens)
    seen = np.flatnonzero(in_image(uv, camera.size) & (depth > 1.0))
    seen = seen[np.argsort(-depth[seen])]
    image = load_image(camera.path, size=camera.size, key=camera.key)
    wires, legend = [], {}
    if scene.boxes is not None:
        pose = sweep.world_SE3_ego @ sweep.ego_SE3_lidar
        colours = box_colours(scene.boxes.names, scene.classes)
        edges = box_wires(scene.boxes, camera, pose)
        wires = list(zip(edges, colours, strict=True))
        legend = box_legend(_in_picture(scene.boxes, edges, camera.size), scene.classes)
    camera_overlay(image, uv[seen], scene.colours[seen], path, title=title, wires=wires, legend=legend)


def _in_picture(boxes: Boxes, edges: list[Float64], size: tuple[int, int]) -> tuple[str, ...]:
    """Names of the boxes of which an edge is in an image."""
    seen = [bool(in_image(lines.reshape(-1, 2), size).any()) for lines in edges]
    return tuple(name for name, there in zip(boxes.names, seen, strict=True) if there)


def _frusta(sweep: Sweep) -> tuple[Frustum, ...]:
    return tuple(
        Frustum(invert_SE3(cam_SE3_lidar(sweep, camera)), camera.intrinsics, camera.size, lens=camera.lens)
        for camera in sweep.cameras
    )


def _moved(other: Sweep, now: Sweep, options: ColourOptions) -> tuple[Float32, Rgb]:
    """An earlier sweep in the frame of `now`; grey where its colours would need a network or labels."""
    points = load_sweep(other)
    # Returns of the vehicle's own roof would leave a trail behind it.
    points = points[np.hypot(points[:, 0], points[:, 1]) > _OWN_ROOF]
    if options.colour in ("height", "intensity"):  # no network, no labels
        colours = point_colours(points, other, options)
    else:
        colours = np.tile(np.array(NEUTRAL, np.uint8), (len(points), 1))
    world_SE3_now = now.world_SE3_ego @ now.ego_SE3_lidar
    now_SE3_other = invert_SE3(world_SE3_now) @ other.world_SE3_ego @ other.ego_SE3_lidar
    return transform_points(now_SE3_other, points), colours
