"""The Waymo Open Perception data set, version 2: Parquet components by segment, without TensorFlow."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail
from pc3d.data.readers.extraction import check_settings
from pc3d.data.readers.key_frames import add_key_every, check_key_every, key_every_note
from pc3d.data.readers.parquet_rows import open_file
from pc3d.data.readers.parts import Parts, nearly_named
from pc3d.data.readers.waymo_extract import Extraction
from pc3d.data.readers.waymo_files import TOP, component, poses_of, sensor_rows
from pc3d.data.readers.waymo_points import frame_key, lasers_of
from pc3d.data.readers.waymo_segment import Images, LidarBoxes
from pc3d.data.records import Boxes, Float64, Sweep
from pc3d.data.selection import Selection
from pc3d.findings import Finding
from pc3d.geometry.rigid import invert_SE3, make_SE3

FORMAT = "waymo:x,y,z,intensity,elongation,return,lidar;intensity=tanh"
WITHOUT_ZONES = f"{FORMAT};where=no_label_zone:-1"
SPLITS = {"training": "train", "validation": "val", "testing": "test"}
LASER_CHOICES = ("all", "top")
NEEDED = ("lidar_calibration", "lidar_pose", "vehicle_pose")
"""Components that the points need, besides `lidar`."""
READ = ("lidar", *NEEDED, "lidar_box", "lidar_segmentation", "camera_image", "camera_calibration")
OTHERS = ("camera_box", "camera_segmentation", "camera_hkp", "lidar_hkp", "lidar_camera_projection")
_DEPTHS = (".", "*", "*/*")
_LARGE = 64 << 20
"""Bytes of a row group, all of which may have to be decoded for one frame: half a second and more."""


class WaymoReader:
    """Reads segments of the Waymo Open Perception data set v2.

    The ego frame is the vehicle's; the LiDAR frame has its axes and its origin at the LiDAR on the roof.
    Points are made of range images of both returns, in the pose of the vehicle at the time of the frame.
    Images and points stay in the Parquet files, where one row costs all before it: `extract` writes them as
    files.

    Args:
        root: the folder of the splits, or a split (with the folders `lidar`, `vehicle_pose`, ...).
        lasers: "all" five LiDARs, or the one on the "top".
        no_label_zones: keep points where nothing is annotated; without them labels and boxes are whole.
        key_every: every so-manyth frame of a segment is a key frame, the others are plain sweeps without
            cameras, boxes and labels.
        extract: folder for points, labels and images as files, which are indexed instead.

    Raises:
        DataError: there is no segment, or none that can be read: all lack a component, or have damaged ones.
    """

    def __init__(
        self,
        root: Path,
        lasers: str = "all",
        no_label_zones: bool = True,
        key_every: int = 1,
        extract: Path | None = None,
    ) -> None:
        if lasers not in LASER_CHOICES:
            raise ValueError(f"unknown lasers {lasers!r}, use one of {', '.join(LASER_CHOICES)}")
        check_key_every(key_every)
        self._root = Path(root).resolve()
        self._laser = "TOP" if lasers == "top" else ""
        self._format = FORMAT if no_label_zones else WITHOUT_ZONES
        self._key_every = key_every
        found = _segments(self._root)
        if not found:
            fail("there is no component `lidar` of a segment", self._root, _missing(self._root))
        self._parts = Parts("segments", "segments", needed=True)
        read = {path: self._parts.read(path.stem, partial(_times, path)) for path in found}
        self._parts.check()
        self._frames = {path: times for path, times in read.items() if times is not None}
        self._segments = list(self._frames)
        self._wanted = Selection()
        self._extraction = None
        if extract is not None:
            folder = Path(extract).resolve()
            settings = {"root": str(self._root), "laser": self._laser, "format": self._format}
            check_settings(folder, settings)
            self._extraction = Extraction(folder)
        splits = sorted({path.parents[1] for path in found})
        self.findings: list[Finding] = [*self._slow(), *nearly_named(splits, READ, OTHERS)]
        self.metadata: dict[str, Any] = self._metadata(no_label_zones)

    def _slow(self) -> list[Finding]:
        """Frames that are read in place, of files with large row groups."""
        metadata = open_file(self._segments[0]).metadata
        groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
        largest = max(groups, key=lambda group: group.total_byte_size, default=None)
        if self._extraction or largest is None or largest.total_byte_size < _LARGE:
            return []
        text = (
            f"row groups of {self._segments[0].name} have {largest.num_rows} rows "
            f"({largest.total_byte_size >> 20} MB): a frame costs all rows before it, and training waits"
        )
        return [Finding("frames in place", "warning", text, "write the frames as files: --extract DIR")]

    def _metadata(self, no_label_zones: bool) -> dict[str, Any]:
        return {
            "dataset": "waymo",
            "root": str(self._extraction.folder if self._extraction else self._root),
            "classes": load_class_set("waymo").to_dict(),
            "sparse_labels": True,  # of about every fifth frame
            "has_labels": any(component(path, "lidar_segmentation").is_file() for path in self._segments),
            "frames": {
                "lidar": "axes of the vehicle, origin at the LiDAR on the roof",
                "ego": "x forward, y left, z up, on the ground below the rear axle",
            },
            "compensated": True,
            "license": "Waymo Dataset License Agreement for Non-Commercial Use",
            "notes": [
                "points of both returns" + ("" if no_label_zones else ", without those in no-label zones"),
                "intensity is tanh of the stated one, which has no bound",
                "the rolling shutter of the cameras is left out",
                key_every_note(self._key_every, "frame"),
            ],
        }

    def __len__(self) -> int:
        return sum(map(len, self._frames.values()))

    def sweeps(self) -> Iterator[Sweep]:
        """The segments by path, each ascending in time."""
        absent = {
            path: [tag for tag in NEEDED if not component(path, tag).is_file()] for path in self._segments
        }
        lacking = [path for path, tags in absent.items() if tags]
        if len(lacking) == len(absent):
            what = f"no segment has the components {', '.join(absent[lacking[0]])}"
            fail(what, self._root, "download them too: the points are made of range images with them")
        if lacking:
            text = f"{len(lacking)} of {len(absent)} segments lack a component and were left out"
            first = f"{lacking[0].stem} has no {absent[lacking[0]][0]}"
            self.findings.append(Finding("segments", "warning", f"{text}, first: {first}", "download it"))
        self._count = _counts()
        extraction = self._extraction and replace(self._extraction, wanted=self._wanted)
        for path in self._segments:
            lasers = None if absent[path] else self._parts.read(path.stem, partial(_read, path))
            for sweep in self._of_segment(path, *lasers) if lasers else ():
                read = partial(extraction.extracted, sweep) if extraction else lambda sweep=sweep: sweep
                if (whole := self._count["frames"].read(sweep.token, read)) is not None:
                    yield whole
        for parts in (self._parts, *self._count.values()):
            self.findings += parts.findings()

    def select(self, wanted: Selection) -> None:
        """Say what of the sweeps will be used: no more is read and extracted."""
        self._wanted = wanted

    def _of_segment(self, path: Path, top: Float64, poses: dict[int, Float64]) -> Iterator[Sweep]:
        """The frames of a segment; `top` is the vehicle_SE3_laser of the LiDAR on the roof."""
        ego_SE3_lidar = make_SE3(np.eye(3), top[:3, 3])
        count = self._count
        images = None
        if self._wanted.cameras != ():
            images = count["cameras"].read(path.stem, partial(Images.read, path))
        boxes, labels = component(path, "lidar_box"), component(path, "lidar_segmentation")
        lidar_boxes = None
        if boxes.is_file():
            lidar_boxes = count["boxes"].read(path.stem, partial(LidarBoxes, boxes, self._laser == "TOP"))
        labelled: set[int] = set()
        if labels.is_file() and self._wanted.labels:
            labelled = set(count["labels"].read(path.stem, partial(_times, labels)) or ())
        without = [time for time in self._frames[path] if time not in poses]
        if without:
            text = f"{len(without)} of {len(self._frames[path])} frames of {path.stem} have no pose"
            self.findings.append(
                Finding("poses", "warning", f"{text} and were left out", "copy vehicle_pose")
            )
        for rank, time in enumerate(self._frames[path]):
            if time not in poses:
                continue
            sweep = self._sweep(path, time, poses[time], ego_SE3_lidar)
            if rank % self._key_every == 0:
                sweep = replace(
                    sweep,
                    is_key_frame=True,
                    sample_token=sweep.token,
                    cameras=images.by_time.get(time, ()) if images else (),
                    boxes=self._boxes_at(lidar_boxes, sweep),
                    lidarseg_path=labels if time in labelled else None,
                )
            yield sweep

    def _boxes_at(self, boxes: LidarBoxes | None, sweep: Sweep) -> Boxes | None:
        if boxes is None:
            return None
        found = boxes.boxes(sweep.timestamp, sweep.world_SE3_ego, invert_SE3(sweep.ego_SE3_lidar))
        self._count["frames of boxes"].count(sweep.token, found is not None)
        return found

    def _sweep(self, path: Path, time: int, pose: Float64, ego_SE3_lidar: Float64) -> Sweep:
        """A frame as a plain sweep."""
        key = frame_key(time, self._laser)
        return Sweep(
            token=f"{path.stem}/{time}",
            scene=path.stem,
            timestamp=time,
            is_key_frame=False,
            path=path,
            lidar_format=self._format,
            ego_SE3_lidar=ego_SE3_lidar,
            world_SE3_ego=pose,
            split=_split(path),
            key=key,
            lidar_SE3_points=invert_SE3(ego_SE3_lidar),
            lidarseg_format="waymo",
            lidarseg_key=key,
        )


def _counts() -> dict[str, Parts]:
    """What is counted while the segments are read."""
    outside = "frames are outside the times of lidar_box, and their boxes"
    return {
        "frames": Parts("frames", "frames", needed=True),
        "cameras": Parts("cameras", "segments' camera_image or camera_calibration"),
        "boxes": Parts("boxes", "segments' lidar_box"),
        "frames of boxes": Parts("boxes", outside, remedy="copy lidar_box again", always=True),
        "labels": Parts("labels", "segments' lidar_segmentation"),
    }


def _times(path: Path) -> list[int]:
    """Ascending microseconds of the frames of a component with rows for LiDARs."""
    return sorted({time for time, _ in sensor_rows(path)})


def _read(path: Path) -> tuple[Float64, dict[int, Float64]]:
    """vehicle_SE3_laser of the LiDAR on the roof, and the poses of a segment."""
    calibration = component(path, "lidar_calibration")
    lasers = lasers_of(calibration)
    if TOP not in lasers:
        fail("the LiDAR on the roof has no calibration", calibration, "copy it again")
    return lasers[TOP].vehicle_SE3_laser, poses_of(component(path, "vehicle_pose"))


def _split(path: Path) -> str:
    name = path.parents[1].name
    known = name in SPLITS or name.startswith(("testing", "domain_adaptation"))
    return SPLITS.get(name, name) if known else "train"


def _segments(root: Path) -> list[Path]:
    return sorted(path for depth in _DEPTHS for path in root.glob(f"{depth}/lidar/*.parquet"))


def _missing(root: Path) -> str:
    """What to do where there is no LiDAR component."""
    found = sorted({path.parent.name for depth in _DEPTHS for path in root.glob(f"{depth}/*/*.parquet")})
    if not found and any(next(root.glob(f"{depth}/*.tfrecord"), None) for depth in _DEPTHS):
        return "these are records of version 1; download version 2 (Parquet) of the data set"
    there = f"; there are {', '.join(found)}" if found else ""
    return f"name the folder that holds lidar/, {'/, '.join(NEEDED)}/ or the splits above{there}"


def detect(root: Path) -> str | None:
    """Why a folder is one of this format, None where it is not."""
    for depth in _DEPTHS:
        for files in ("lidar/*.parquet", "vehicle_pose/*.parquet", "*.tfrecord"):
            path = next(root.glob(f"{depth}/{files}"), None)
            if path is not None:
                return f"{path.parent.relative_to(root)}/SEGMENT{path.suffix}"
    return None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options whose names are the arguments of the reader."""
    parser.add_argument(
        "--lasers", choices=LASER_CHOICES, default="all", help="all five LiDARs (default), or the one on top"
    )
    parser.add_argument(
        "--without-no-label-zones",
        dest="no_label_zones",
        action="store_false",
        help="leave out points where nothing is annotated",
    )
    add_key_every(parser, "frame")
    parser.add_argument(
        "--extract",
        type=Path,
        metavar="DIR",
        help="write points, labels and images as files, and index those",
    )
