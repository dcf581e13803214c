"""One frame of a sample: points, views, images, pairs, regions and labels of one sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.batch import CROPS
from pc3d.data.errors import fail
from pc3d.data.frame_images import image_ids, images_of, pairs_of, seen_pairs, with_boxes
from pc3d.data.frame_statistics import frame_statistics, with_statistics
from pc3d.data.frame_types import (
    NOT_LOOKED_AT,
    FrameConfig,
    FrameSample,
    FrameSources,
    ImageDraw,
    ImagesSample,
    PairsSample,
)
from pc3d.data.labels import load_labels
from pc3d.data.masked_views import masked_views
from pc3d.data.pairing import CameraPairs
from pc3d.data.records import Boxes, Float32, Float64, Sweep
from pc3d.data.sweeps import STATISTICS, stack_rays, stack_sweeps, stored_features
from pc3d.data.transforms import ViewCrop, ViewSample, make_crop, make_view, without_cuboid

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
POINT_IDS = ("regions", "supervoxels", "objects")
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
    shown: Sweep | None = None,
) -> FrameSample:
    """Load what `sources.needs` asks for of one sweep.

    Args:
        tracks_from: sweep token of frame "t" where this is its "t+1"; None for "t" itself.
        earlier: sweeps before it that its views show too, the nearest first. Their points are rows after
            its own, `NOT_LOOKED_AT` in every kind of ids, without a label, in no pair. So are the points of
            pasted objects, which come last.
        shown: the sweep whose images, and ids of their pixels, it shows; its own with None.

    Raises:
        DataError: a file is missing or broken, or does not fit the sweep.
    """
    needs = sources.needs
    points, origins, own = stack_rays(sweep, earlier, stored_features(sources.config.features))
    boxes = _boxes(sweep) if needs.boxes else None
    points, boxes, hidden = _pasted(sources, points, boxes, rng)
    seen = seen_pairs(sources, points[:own], sweep, draw)
    statistics = frame_statistics(sources, sweep.token, points, hidden)
    views = _views(sources, points, seen, rng, hidden, statistics)
    occupancy = None
    if needs.occupancy is not None:
        # What is pasted comes last, as if the LiDAR of the sweep had seen it.
        starts = np.pad(origins, ((0, len(points) - len(origins)), (0, 0)))
        masked, occupancy = masked_views(views["a"], points, starts, needs.occupancy, rng, hidden)
        views |= masked
    draw = with_boxes(sources, sweep, draw, seen, views, rng)
    of_points = _ids_of_points(sources, sweep, own, tracks_from)
    ids: dict[str, Any] = {
        **{
            name: image_ids(sources, shown or sweep, draw, name) for name in IMAGE_IDS if getattr(needs, name)
        },
        **{name: _pad(name, array, len(points)) for name, array in of_points.items()},
    }
    return FrameSample(
        views=views,
        num_points=len(points),
        world_SE3_lidar=sweep.world_SE3_ego @ sweep.ego_SE3_lidar,
        draw=draw,
        images=(images_of(sweep, draw, needs.images, shown, sources.teacher) if draw.cameras else None),
        pairs=pairs_of(seen, sweep, draw) if draw.cameras else None,
        **ids,
        statistics=statistics if needs.statistics else None,
        boxes=boxes,
        box_labels=None if boxes is None else _box_labels(sources, boxes, sweep),
        maps=_maps(sources, sweep, views["a"].view_T_lidar) if needs.maps else None,
        occupancy=occupancy,
    )


def load_dense_frame(
    sources: FrameSources, sweep: Sweep, earlier: list[Sweep], now: FrameSample, rng: np.random.Generator
) -> FrameSample:
    """The key frame with earlier sweeps moved into its frame; images and superpixels are those of `now`.

    The first rows are the key frame's own; the sweeps follow, the nearest in time first.
    """
    points, _ = stack_sweeps(sweep, earlier, stored_features(sources.config.features), without_ego=False)
    seen = seen_pairs(sources, points, sweep, now.draw)
    statistics = frame_statistics(sources, None, points)
    return FrameSample(
        views=_views(sources, points, seen, rng, statistics=statistics),
        num_points=len(points),
        world_SE3_lidar=now.world_SE3_lidar,
        draw=now.draw,
        images=now.images,
        pairs=pairs_of(seen, sweep, now.draw) if now.draw.cameras else None,
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
    paste, classes = sources.config.paste, sources.classes
    if sources.objects is None or paste is None or classes is None or boxes is None:
        return points, boxes, None
    pasted = sources.objects.paste(paste, points, boxes, classes, rng)
    return pasted.points, pasted.boxes, pasted.hidden


def _views(
    sources: FrameSources,
    points: Float32,
    seen: Mapping[int, CameraPairs],
    rng: np.random.Generator,
    hidden: NDArray[np.bool_] | None = None,
    statistics: Float32 | None = None,
) -> dict[str, ViewSample]:
    settings = sources.config.augmentation
    shown = None if hidden is None or not hidden.any() else np.flatnonzero(~hidden)
    visible = points if shown is None else points[shown]
    paired = [pairs.row for pairs in seen.values()]
    views = {}
    for number, name in enumerate(("a", "b")[: sources.needs.views]):
        augmentation = settings[min(number, len(settings) - 1)]
        view = make_view(visible, augmentation, sources.config.points, rng)
        view = view if shown is None else replace(view, row=shown[view.row])
        views[name] = without_cuboid(view, augmentation, paired, rng)
    # Crops have generators of their own: all else that is drawn of a sample is the same without them.
    crops, part = sources.needs.crops, sources.config.view_crop or ViewCrop()
    for name, own in zip(CROPS[:crops], rng.spawn(crops) if crops else (), strict=True):
        view = make_crop(visible, settings[-1], sources.config.points, part, own)
        views[name] = view if shown is None else replace(view, row=shown[view.row])
    if statistics is None or STATISTICS not in sources.config.features:
        return views
    return {name: with_statistics(view, statistics) for name, view in views.items()}


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
    if sources.classes is None or not sources.classes.classes:
        fail(
            "the data set has no classes of points",
            f"sweep {sweep.token}",
            "build the index with a class file: --classes FILE",
        )
    return load_labels(sweep, num_points, sources.classes)


def _maps(sources: FrameSources, sweep: Sweep, view_T_lidar: Float64) -> NDArray[np.bool_]:
    """(6, rows, cols) masks of the scene's map in the frame of a view."""
    world_T_view = sweep.world_SE3_ego @ sweep.ego_SE3_lidar @ np.linalg.inv(view_T_lidar)
    return sources.scene_maps[sweep.scene].targets(world_T_view, sources.config.map_grid)


def _box_labels(sources: FrameSources, boxes: Boxes, sweep: Sweep) -> NDArray[np.int64]:
    """(N,) detection class of each box, -1 for none."""
    if sources.classes is None or not sources.classes.detection:
        fail(
            "the data set has no classes of boxes",
            f"sweep {sweep.token}",
            "build the index with a class file that has `detection` and `boxes`: --classes FILE",
        )
    return sources.classes.box_labels(boxes.names)


def _boxes(sweep: Sweep) -> Boxes:
    if sweep.boxes is None:
        fail("the sweep has no annotated boxes", f"sweep {sweep.token}", "choose a split that is annotated")
    return sweep.boxes
