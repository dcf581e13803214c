"""One pass over a bag: when each message of the wanted topics was made, transforms and poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pc3d.data.readers.bag.clouds import is_empty
from pc3d.data.readers.bag.lenses import same_calibration
from pc3d.data.readers.bag.opened import Bag, Message
from pc3d.data.readers.bag.options import LOG, BagOptions
from pc3d.data.readers.bag.topics import CLOUD, INFO, ODOMETRY, POSES, TF
from pc3d.data.readers.bag.trajectory import Trajectory
from pc3d.data.readers.bag.transforms import TransformTree, frame_name


@dataclass
class Track:
    """The messages of a topic, ascending in time once `sort` was called.

    Attributes:
        topic: name. kind: type, "" before the first message.
        stamps: nanoseconds. keys: see `Message.key`.
        frame: of the first message. first: its content.
        frames: all that occurred. empty: clouds without a point, which are left out.
        unstamped: messages whose header has no time.
        repeated: messages with the stamp of another, which are left out by `sort`.
        late: seconds from the header's stamp to the log, of each.
        expected: messages that the bag's own table says.
    """

    topic: str
    kind: str = ""
    stamps: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    frame: str = ""
    first: Any = None
    frames: set[str] = field(default_factory=set)
    empty: int = 0
    unstamped: int = 0
    repeated: int = 0
    late: list[float] = field(default_factory=list)
    expected: int = 0

    def sort(self) -> None:
        """Order by stamp; of equal ones the first that was recorded stays."""
        order = sorted(range(len(self.stamps)), key=lambda at: (self.stamps[at], at))
        once = [at for n, at in enumerate(order) if not n or self.stamps[at] != self.stamps[order[n - 1]]]
        self.repeated = len(order) - len(once)
        self.stamps = [self.stamps[at] for at in once]
        self.keys = [self.keys[at] for at in once]


@dataclass
class Scan:
    """What the pass over a bag found.

    Attributes:
        tracks: of clouds and images, by topic.
        infos: the first CameraInfo of each topic. changed: topics whose later ones say something else.
        tree: transforms.
        poses: of the topic of poses; None where it has no message.
        child: frame that the poses are of, "" where the messages say none.
        frames: all (parent, child) of the poses.
    """

    tracks: dict[str, Track]
    infos: dict[str, Any]
    tree: TransformTree
    poses: Trajectory | None = None
    child: str = ""
    changed: set[str] = field(default_factory=set)
    frames: set[tuple[str, str]] = field(default_factory=set)


def scan(bag: Bag, sensors: Sequence[str], infos: Sequence[str], poses: str, options: BagOptions) -> Scan:
    """Read a bag once, from its start to its end.

    Args:
        sensors: topics of clouds and images. infos: of CameraInfo. poses: of poses, "" for none.

    Raises:
        DataError: the bag is damaged, or a pose is none.
    """
    tracks = {topic: Track(topic, expected=bag.count(topic)) for topic in sensors}
    found = Scan(tracks, {}, TransformTree())
    for message in bag.messages([*sensors, *infos, *tf_topics(bag), *([poses] if poses else [])]):
        if message.topic in found.tracks:
            _add(found.tracks[message.topic], message, options)
        elif message.kind == INFO:
            first = found.infos.setdefault(message.topic, message.content)
            if first is not message.content and not same_calibration(first, message.content):
                found.changed.add(message.topic)
        elif message.kind in TF:
            found.tree.add_message(message.content, is_static(message.topic))
        elif message.kind in POSES:
            _add_pose(found, message, options)
    for track in found.tracks.values():
        track.sort()
    return found


def tf_topics(bag: Bag) -> list[str]:
    """Topics of transforms."""
    return [topic for topic, kind in bag.kinds.items() if kind in TF]


def is_static(topic: str) -> bool:
    """Whether the transforms of a topic hold always."""
    return topic.rstrip("/").endswith("tf_static")


def stamp_of(message: Message, options: BagOptions) -> tuple[int, bool]:
    """Nanoseconds of a message, and whether its header has them."""
    stamp = message.content.header.stamp
    time = int(stamp.sec) * 10**9 + int(stamp.nanosec)
    used = time if time and options.stamps != LOG else message.log
    return used + options.offset(message.topic), time != 0


def _add(track: Track, message: Message, options: BagOptions) -> None:
    if message.kind == CLOUD and is_empty(message.content):
        track.empty += 1
        return
    stamp, stamped = stamp_of(message, options)
    frame = frame_name(str(message.content.header.frame_id))
    if not track.kind:
        track.kind, track.frame, track.first = message.kind, frame, message.content
    track.frames.add(frame)
    track.unstamped += not stamped
    track.late.append(1e-9 * (message.log - stamp))
    track.stamps.append(stamp)
    track.keys.append(message.key)


def _add_pose(found: Scan, message: Message, options: BagOptions) -> None:
    content = message.content
    pose = content.pose if hasattr(content.pose, "position") else content.pose.pose
    child = frame_name(str(content.child_frame_id if message.kind == ODOMETRY else ""))
    found.frames.add((frame_name(str(content.header.frame_id)), child))
    if found.poses is None:
        found.poses, found.child = Trajectory(f"{message.topic}"), child
    p, q = pose.position, pose.orientation
    found.poses.add(stamp_of(message, options)[0], (p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def median_period(stamps: Sequence[int]) -> float | None:
    """Seconds from one time to the next, None for less than two."""
    return 1e-9 * float(np.median(np.diff(np.asarray(stamps)))) if len(stamps) > 1 else None
