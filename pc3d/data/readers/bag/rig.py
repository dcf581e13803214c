"""The cameras of a bag: image topics with their calibration and their place on the vehicle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.readers.bag.guesses import Pictures
from pc3d.data.readers.bag.lenses import LensInfo, Unusable, is_rectified, lens_info, read_info
from pc3d.data.readers.bag.names import distinct_names, plain_name
from pc3d.data.readers.bag.options import NONE, BagOptions, for_topic
from pc3d.data.readers.bag.pictures import picture_size
from pc3d.data.readers.bag.scan import Scan
from pc3d.data.readers.bag.topics import COMPRESSED, Topic, check_known
from pc3d.data.readers.bag.transforms import frame_name
from pc3d.data.records import Camera, Float64
from pc3d.findings import Finding
from pc3d.geometry.rigid import invert_SE3, make_SE3

LINK_R_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""From the axes of a camera (x right, y down, z forward) to those of a vehicle (x forward, z up)."""
_UPWARD = 0.9  # of the optical axis: a camera that looks at the sky, or a frame with other axes
_TRANSPORTS = ("compressed",)


@dataclass(frozen=True)
class CameraTopic:
    """Images and where their calibration is.

    Attributes:
        name: of the camera. topic, kind: of the images. info: topic of CameraInfo, or a YAML file.
    """

    name: str
    topic: str
    kind: str
    info: str | Path


def choose_cameras(
    topics: Sequence[Topic], options: BagOptions, pictures: Pictures, root: Path
) -> tuple[list[CameraTopic], list[Finding]]:
    """The cameras: those that are named, else one for each CameraInfo.

    Args:
        pictures: first images of a bag.

    Raises:
        DataError: a topic that is named is none, or has no calibration.
    """
    images = {topic.name: topic for topic in topics if topic.use == "images" and topic.count}
    infos = {topic.name for topic in topics if topic.use == "calibration of a camera" and topic.count}
    if options.camera_topics is not None:
        wanted = [] if list(options.camera_topics) == [NONE] else list(options.camera_topics)
        check_known(wanted, list(images), "images", root, "--camera-topics")
        named = [_named(images[name], infos, options, root) for name in dict.fromkeys(wanted)]
        return _distinct(named), []
    found: list[Finding] = []
    by_info: dict[str | Path, list[CameraTopic]] = {}
    for topic in images.values():
        info = _info_of(topic, infos, options)
        if topic.name in pictures.unfit:
            remedy = f"--camera-topics {topic.name} takes it all the same"
            found.append(_left_out(topic.name, pictures.unfit[topic.name], "ok", remedy))
        elif info is None:
            remedy = f"--camera-info {topic.name}=INFO_TOPIC or =FILE.yaml"
            found.append(_left_out(topic.name, "it has no CameraInfo", "warning", remedy))
        else:
            by_info.setdefault(info, []).append(_camera_topic(topic, info))
    cameras = []
    for info, same in by_info.items():
        first, *others = sorted(
            same, key=lambda camera: _rank(camera, pictures.sizes, pictures.sizes.get(str(info)))
        )
        cameras.append(first)
        why = f"{first.topic} is taken, which has the same CameraInfo"
        found += [_left_out(camera.topic, why, "ok", "") for camera in others]
    return _distinct(cameras), found


def _distinct(cameras: Sequence[CameraTopic]) -> list[CameraTopic]:
    """Cameras of a name each: `/cam/image` and `/cam_image` have one at first."""
    forms = {
        camera.topic: [camera.name, plain_name(camera.topic), camera.topic.strip("/").replace("/", "__")]
        for camera in cameras
    }
    names = distinct_names(forms)
    return [replace(camera, name=names[camera.topic]) for camera in cameras]


def _rank(
    camera: CameraTopic, sizes: Mapping[str, tuple[int, int]], full: tuple[int, int] | None
) -> tuple[bool, bool, str]:
    return sizes.get(camera.topic) != full, camera.kind != COMPRESSED, camera.topic


def _left_out(topic: str, why: str, state: Any, remedy: str) -> Finding:
    return Finding(f"camera {topic}", state, f"left out: {why}", remedy)


def _camera_topic(topic: Topic, info: str | Path) -> CameraTopic:
    return CameraTopic(plain_name(_base(topic)), topic.name, topic.kind, info)


def _named(topic: Topic, infos: set[str], options: BagOptions, root: Path) -> CameraTopic:
    info = _info_of(topic, infos, options)
    if info is None:
        there = ", ".join(sorted(infos)) or "none"
        fail(
            f"{topic.name} has no CameraInfo beside it",
            root,
            f"--camera-info {topic.name}=INFO_TOPIC (there are: {there}) or {topic.name}=FILE.yaml",
        )
    return _camera_topic(topic, info)


def _base(topic: Topic) -> str:
    """The topic without its transport: `/cam/image` of `/cam/image/compressed`."""
    base, _, last = topic.name.rpartition("/")
    return base if topic.kind == COMPRESSED and last in _TRANSPORTS and base else topic.name


def _info_of(topic: Topic, infos: set[str], options: BagOptions) -> str | Path | None:
    said = for_topic(options.camera_info, topic.name)
    if said is not None:
        return said if said in infos else Path(said)
    base = _base(topic)
    beside = [f"{base.rpartition('/')[0]}/camera_info", f"{base}/camera_info"]
    return next((name for name in beside if name in infos), None)


class Rig:
    """Makes `Camera` records, and keeps what was odd about each topic.

    Args:
        cameras: the topics. base: frame of the vehicle.
    """

    def __init__(self, cameras: Sequence[CameraTopic], base: str, options: BagOptions) -> None:
        self.cameras = list(cameras)
        self._base, self._options = base, options
        self._found: dict[str, Finding] = {}

    @property
    def findings(self) -> list[Finding]:
        """Cameras that were left out, and what was assumed of others."""
        return list(self._found.values())

    def of_bag(self, found: Scan, where: Path) -> dict[str, tuple[Camera, str]]:
        """The cameras of a bag by topic: a record without path and time, and the frame it stands in.

        Raises:
            DataError: the frame of a camera is not joined to the vehicle's; an image cannot be read.
        """
        made: dict[str, tuple[Camera, str]] = {}
        lenses = {camera.topic: self._lens(camera, found, where) for camera in self.cameras}
        for camera in self.cameras:
            lens, track = lenses[camera.topic], found.tracks[camera.topic]
            if lens is None:
                continue
            shared = sum(
                found.tracks[other].frame == track.frame
                for other, known in lenses.items()
                if known is not None
            )
            made[camera.topic] = self._record(camera, lens, found, shared > 1, where)
        return made

    def _lens(self, camera: CameraTopic, found: Scan, where: Path) -> LensInfo | None:
        track = found.tracks[camera.topic]
        if track.first is None:
            self._note(camera, f"the bag {where} has no image of it", "warning", "index that bag by itself")
            return None
        info = read_info(camera.info) if isinstance(camera.info, Path) else found.infos.get(camera.info)
        if info is None:
            self._note(camera, f"the bag {where} has no message of {camera.info}", "warning", _GIVE)
            return None
        size = picture_size(track.kind, track.first, f"{where}, {camera.topic}")
        try:
            return lens_info(info, size, is_rectified(camera.topic))
        except Unusable as error:
            self._note(camera, f"left out: {error}", "problem", _GIVE)
            return None

    def _record(
        self, camera: CameraTopic, lens: LensInfo, found: Scan, shared: bool, where: Path
    ) -> tuple[Camera, str]:
        track = found.tracks[camera.topic]
        frame = track.frame or _frame_of_info(found, camera)
        self._say(camera, lens, shared)
        what = f"camera {camera.topic} in {where}"
        base_SE3_cam = found.tree.at(self._base, frame, track.stamps[0], what) @ self._frame_SE3_cam(
            camera, lens, shared
        )
        if abs(base_SE3_cam[2, 2]) > _UPWARD:
            axis = "up" if base_SE3_cam[2, 2] > 0 else "down"
            text = f"it looks straight {axis}: is {frame} a frame with x forward and z up?"
            self._note(camera, text, "warning", f"--link-axes {camera.topic}")
        record = Camera(
            name=camera.name,
            path=where,
            size=picture_size(track.kind, track.first, f"{where}, {camera.topic}"),
            intrinsics=lens.intrinsics,
            ego_SE3_cam=base_SE3_cam,
            world_SE3_ego=np.eye(4),
            timestamp=0,
            distortion=lens.distortion,
            model=lens.model,
        )
        return record, frame

    def _frame_SE3_cam(self, camera: CameraTopic, lens: LensInfo, shared: bool) -> Float64:
        axes = LINK_R_OPTICAL if camera.topic in self._options.link_axes else np.eye(3)
        rotation = axes @ lens.info_R_cam
        shift = np.array([lens.shift if shared else 0.0, 0.0, 0.0])
        return make_SE3(rotation, rotation @ shift)

    def placed(self, topic: str, record: Camera, frame: str, found: Scan, at: int) -> Camera:
        """The record of the image `at` of a topic: its time, and its mount where that moves."""
        stamps = found.tracks[topic].stamps
        if not found.tree.moves(self._base, frame):
            return replace(record, timestamp=stamps[at] // 1000)
        first = found.tree.at(self._base, frame, stamps[0], topic)
        now = found.tree.at(self._base, frame, stamps[at], topic)
        mount = now @ invert_SE3(first) @ record.ego_SE3_cam
        return replace(record, timestamp=stamps[at] // 1000, ego_SE3_cam=mount)

    def _say(self, camera: CameraTopic, lens: LensInfo, shared: bool) -> None:
        if lens.note:
            state = "warning" if lens.note.startswith("scaled") else "ok"
            self._note(camera, f"its intrinsics are {lens.note}", state, _GIVE if state == "warning" else "")
        elif abs(lens.shift) > 1e-6 and not shared:
            text = f"P has a baseline of {lens.shift:.3f} m; not applied, as its frame is its own"
            self._note(camera, text, "ok", "")

    def _note(self, camera: CameraTopic, text: str, state: Any, remedy: str) -> None:
        name = f"camera {camera.topic}"
        self._found.setdefault(f"{name} {text.partition(':')[0]}", Finding(name, state, text, remedy))


def _frame_of_info(found: Scan, camera: CameraTopic) -> str:
    info = None if isinstance(camera.info, Path) else found.infos.get(camera.info)
    return frame_name(str(info.header.frame_id)) if info is not None else ""


_GIVE = "calibrate it, and give the result: --camera-info TOPIC=FILE.yaml"
