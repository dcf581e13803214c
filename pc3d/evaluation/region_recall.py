"""Which boxes regions find, on any annotated frames: objects beside clusters, supervoxels and DBSCAN."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.build import build_index
from pc3d.data.index import SweepIndex
from pc3d.regions.clusters import dbscan
from pc3d.regions.ground import GroundParams, rows_off_ground, sensor_height
from pc3d.regions.key_frame import KeyFrame, key_frames
from pc3d.regions.lidar_regions import lidar_regions
from pc3d.regions.objects import ObjectParams, objects
from pc3d.regions.statistics import RegionCounts, count_regions, share
from pc3d.regions.supervoxels import supervoxels

DATA_SETS: dict[str, dict[str, Any]] = {
    "nuscenes": {"version": "v1.0-mini"},
    "kitti_object": {},
    "argoverse2": {},
    "pandaset": {},
}
"""Folder and reader of each annotated real sample, and the reader's options."""
RANGE = 54.0
"""Boxes count whose centre lies within this along x and y, metres: where regions are sought."""
CAPS = (64, 128)

Cut = Callable[[NDArray, float], NDArray]


def _dbscan(eps: float, min_samples: int) -> Cut:
    def cut(points: NDArray, height: float) -> NDArray:
        rows = rows_off_ground(points, height, GroundParams())
        labels = np.full(len(points), -1, dtype=np.int32)
        labels[rows] = dbscan(points[rows, :2].astype(np.float64), eps, min_samples)
        return labels

    return cut


def _objects(params: ObjectParams) -> Cut:
    return lambda points, height: objects(points, height, params)


CUTS: dict[str, Cut] = {
    "clusters": lidar_regions,
    "supervoxels": supervoxels,
    "DBSCAN, 0.75 m, 5 points": _dbscan(0.75, 5),
    "DBSCAN, 0.75 m, 3 points": _dbscan(0.75, 3),
    "DBSCAN, 0.4 m, 3 points": _dbscan(0.4, 3),
    "objects": objects,
    **{f"objects, at most {cap}": _objects(ObjectParams(max_regions=cap)) for cap in CAPS},
}


def run(real_data: Path, simulated: Path | None = None, every: int = 1) -> dict[str, dict[str, Any]]:
    """Count what each kind of region finds.

    Args:
        real_data: folder of the real samples. simulated: an index of simulated drives beside them.
        every: of the simulated key frames, each so-manieth.

    Returns:
        By data set and kind the counts of `scores`.

    Raises:
        DataError: a sample is not there.
    """
    tables = {}
    with TemporaryDirectory() as folder:
        for name, options in DATA_SETS.items():
            index = build_index(name, real_data / name, Path(folder) / name, "the benchmark", **options)
            tables[name] = table(key_frames(index, index.key_rows(None)))
        if simulated is not None:
            index = SweepIndex.open(simulated)
            for split in index.splits:
                tables[split] = table(key_frames(index, index.key_rows(split)[::every]))
    return tables


def table(frames: Iterable[KeyFrame]) -> dict[str, dict[str, Any]]:
    """Scores of each kind over annotated key frames; those without boxes are left out."""
    totals = dict.fromkeys(CUTS, RegionCounts())
    seconds = dict.fromkeys(CUTS, np.inf)
    for frame in frames:
        if frame.now.boxes is None:
            continue
        height = sensor_height(frame.now, GroundParams())
        for name, cut in CUTS.items():
            start = time.perf_counter()
            ids = cut(frame.points, height)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
            totals[name] += count_regions(ids, frame.points, frame.now.boxes, frame.categories, within=RANGE)
    return {name: {**scores(total), "seconds": seconds[name]} for name, total in totals.items()}


def scores(total: RegionCounts) -> dict[str, Any]:
    """Found boxes and purity of counts over frames."""
    return {
        "found": total.boxes_covered,
        "boxes": total.boxes,
        "recall": share(total.boxes_covered, total.boxes),
        "regions per sweep": share(total.regions, total.sweeps),
        "purity against boxes": share(total.pure_points, total.labelled_points),
        "purity against point labels": share(total.class_pure_points, total.classed_points),
    }


def to_markdown(tables: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A table for each data set."""
    lines = []
    for name, kinds in tables.items():
        lines += [f"### {name}", "", "| | found | recall | regions a sweep | purity: boxes, point labels |"]
        lines += ["|---|---|---|---|---|"]
        for kind, s in kinds.items():
            pure = ", ".join(_number(s[f"purity against {what}"], 3) for what in ("boxes", "point labels"))
            lines.append(
                f"| {kind} | {s['found']} of {s['boxes']} | {_number(s['recall'], 3)} | "
                f"{_number(s['regions per sweep'], 0)} | {pure} |"
            )
        lines.append("")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
