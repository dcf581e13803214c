"""What a user says of bags: which topics, frames, poses and units."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path

from pc3d.data.readers.key_frames import add_key_every, check_key_every

NONE, TF, KISS_ICP = "none", "tf", "kiss-icp"
HEADER, LOG = "header", "log"


@dataclass(frozen=True)
class BagOptions:
    """Options of `BagReader`; None lets it find out, and say what it took.

    Those of several topics are `TOPIC=VALUE`, or `VALUE` for all of them.

    Attributes:
        lidar_topics: topics of points; the first one leads, the others are joined to it; `["all"]` takes all.
        camera_topics: topics of images; `["none"]` for none.
        camera_info: `IMAGE_TOPIC=INFO_TOPIC` or `IMAGE_TOPIC=FILE.yaml`.
        base_frame: frame of the vehicle. fixed_frame: the world, where poses come from tf.
        poses: a topic of Odometry or PoseStamped, `tf`, `kiss-icp`, or `none`.
        transforms: YAML file of fixed transforms that the bags lack.
        point_time: `[TOPIC=]FIELD:UNIT` with s, ms, us or ns, `@` behind it for absolute times; `none`.
        intensity: `[TOPIC=]FIELD/FULL`, `:tanh` behind it to squash one without bound; `none`.
        link_axes: image topics whose frame has x forward, y left, z up, not the axes of a camera.
        key_every: every so-manyth sweep is a key frame with images.
        tolerance: seconds, from a sweep to the images and further clouds that are joined to it.
        pose_tolerance: seconds from a sweep to the nearest pose; sweeps farther off are left out.
        stamps: `header`, or `log` for the time of recording.
        stamp_offset: `TOPIC=SECONDS`, added to the stamps of a topic.
        start, end: seconds from the start of each bag.
        extract: folder for points and images as files, which are indexed instead of the bags.

    Raises:
        ValueError: a value that is none.
    """

    lidar_topics: Sequence[str] | None = None
    camera_topics: Sequence[str] | None = None
    camera_info: Sequence[str] = ()
    base_frame: str | None = None
    fixed_frame: str | None = None
    poses: str | None = None
    transforms: Path | None = None
    point_time: Sequence[str] = ()
    intensity: Sequence[str] = ()
    link_axes: Sequence[str] = ()
    key_every: int = 1
    tolerance: float = 0.06
    pose_tolerance: float = 0.2
    stamps: str = HEADER
    stamp_offset: Sequence[str] = ()
    start: float | None = None
    end: float | None = None
    extract: Path | None = None

    def __post_init__(self) -> None:
        check_key_every(self.key_every)
        for name in ("tolerance", "pose_tolerance"):
            if not 0 < getattr(self, name) <= 10:
                raise ValueError(f"{name} is {getattr(self, name)}, expected seconds above 0, up to 10")
        if self.stamps not in (HEADER, LOG):
            raise ValueError(f"stamps is {self.stamps!r}, use {HEADER!r} or {LOG!r}")
        for name in ("camera_info", "stamp_offset"):
            for pair in getattr(self, name):
                if not pair.partition("=")[2]:
                    raise ValueError(f"{name} has {pair!r}, expected TOPIC=VALUE")
        for pair in self.stamp_offset:
            if not isfinite(number_of(pair.partition("=")[2])):
                raise ValueError(f"stamp_offset (--stamp-offset) has {pair!r}, expected TOPIC=SECONDS")
        for name in ("start", "end"):
            if getattr(self, name) is not None and not isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}, expected seconds")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(f"start is {self.start:g} and end is {self.end:g}: no time between them")

    def offset(self, topic: str) -> int:
        """Nanoseconds that are added to the stamps of a topic."""
        return round(1e9 * float(for_topic(self.stamp_offset, topic) or 0.0))

    @property
    def named_topics(self) -> set[str]:
        """Topics that the options of several name."""
        pairs = [*self.camera_info, *self.stamp_offset, *self.point_time, *self.intensity]
        return {pair.partition("=")[0] for pair in pairs if _of_one(pair)} | set(self.link_axes)


def number_of(text: str) -> float:
    """A number, NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return nan


def _of_one(text: str) -> bool:
    return text.startswith("/") and "=" in text


def for_topic(values: Sequence[str], topic: str) -> str | None:
    """The value of a topic among `TOPIC=VALUE` and `VALUE`; None where there is none."""
    own = {text.partition("=")[0]: text.partition("=")[2] for text in values if _of_one(text)}
    shared = [text for text in values if not _of_one(text)]
    return own.get(topic, shared[-1] if shared else None)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a `BagReader`; their names are those of `BagOptions`."""
    add = parser.add_argument
    add("--list-topics", action="store_true", help="print what the bags hold, and index nothing")
    add("--lidar-topics", nargs="+", metavar="TOPIC", help="points; the first leads, others join; `all`")
    add("--camera-topics", nargs="+", metavar="TOPIC", help="images; `none` for none")
    info_help = "calibration of a camera: a topic of CameraInfo or a YAML file of camera_calibration"
    add("--camera-info", nargs="+", default=[], metavar="IMAGES=INFO", help=info_help)
    add("--base-frame", metavar="FRAME", help="of the vehicle")
    add("--fixed-frame", metavar="FRAME", help="the world, where poses come from tf")
    add("--poses", metavar="SOURCE", help="a topic of Odometry or PoseStamped, tf, kiss-icp, or none")
    add("--transforms", type=Path, metavar="FILE", help="YAML of fixed transforms that the bags lack")
    add(
        "--point-time", nargs="+", default=[], metavar="[TOPIC=]FIELD:UNIT", help="s, ms, us, ns; @: absolute"
    )
    add("--intensity", nargs="+", default=[], metavar="[TOPIC=]FIELD/FULL", help="full scale; :tanh squashes")
    add("--link-axes", nargs="+", default=[], metavar="TOPIC", help="cameras whose frame has x forward, z up")
    add_key_every(parser)
    tolerance_help = "from a sweep to its images and further clouds (default %(default)s)"
    add("--tolerance", type=float, default=0.06, metavar="SECONDS", help=tolerance_help)
    pose_help = "from a sweep to its nearest pose (default %(default)s)"
    add("--pose-tolerance", type=float, default=0.2, metavar="SECONDS", help=pose_help)
    add("--stamps", choices=[HEADER, LOG], default=HEADER, help="times: of headers (default) or of recording")
    add("--stamp-offset", nargs="+", default=[], metavar="TOPIC=SECONDS", help="added to stamps of a topic")
    add("--start", type=float, metavar="SECONDS", help="from the start of each bag")
    add("--end", type=float, metavar="SECONDS", help="from the start of each bag")
    add("--extract", type=Path, metavar="DIR", help="write points and images as files, and index those")
