"""What is in a bag: topics with their type, number and rate, and what pc3d makes of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pc3d.data.errors import did_you_mean, fail
from pc3d.data.readers.bag.files import find_bags
from pc3d.data.readers.bag.opened import Bag, open_bag

CLOUD = "sensor_msgs/msg/PointCloud2"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
TF = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
ODOMETRY = "nav_msgs/msg/Odometry"
POSES = (
    ODOMETRY,
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
)
USES = {
    CLOUD: "points",
    IMAGE: "images",
    COMPRESSED: "images",
    INFO: "calibration of a camera",
    **dict.fromkeys(TF, "transforms"),
    **dict.fromkeys(POSES, "poses"),
}
_PACKETS = ("Packet", "VelodyneScan", "PandarScan", "RobosenseScan", "RslidarScan", "ScanPackets")
_OTHER_POINTS = ("CustomMsg", "LaserScan", "MultiEchoLaserScan", "sensor_msgs/msg/PointCloud")
_UNREAD = ("compressedDepth", "ffmpeg", "theora")


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        bag: the file. name, kind: of the topic, and its type.
        count: messages. rate: a second, over the whole bag.
        use: what pc3d reads from it, "" if nothing.
        note: why it is not read.
    """

    bag: Path
    name: str
    kind: str
    count: int
    rate: float
    use: str
    note: str = ""


def topics_of(bag: Bag, file: Path) -> list[Topic]:
    """The topics of an open bag, by name."""
    seconds = max(1e-9 * (bag.end - bag.start), 1e-9)
    found = []
    for name, kind in sorted(bag.kinds.items()):
        count, note = bag.count(name), _why_unread(name, kind, bag.defined(name))
        rate = (count - 1) / seconds if count > 1 else 0.0
        found.append(Topic(file, name, kind, count, rate, "" if note else USES.get(kind, ""), note))
    return found


def list_topics(root: str | Path) -> list[Topic]:
    """The topics of all bags below a root.

    Raises:
        DataError: no bag, or one that cannot be read.
        ImportError: the package `rosbags` is not installed.
    """
    found: list[Topic] = []
    for path in find_bags(Path(root)):
        bag = open_bag(path)
        try:
            found += topics_of(bag, path.file)
        finally:
            bag.close()
    return found


def topics_table(topics: Iterable[Topic]) -> str:
    """Topics as lines of text, a block for each bag."""
    lines: list[str] = []
    last: Path | None = None
    for topic in topics:
        if topic.bag != last:
            lines.append(f"{topic.bag}")
            last = topic.bag
        use = topic.use or (f"not read: {topic.note}" if topic.note else "")
        lines.append(f"  {topic.name:<36} {topic.kind:<40} {topic.count:>7} {topic.rate:>7.1f} Hz  {use}")
    return "\n".join(line.rstrip() for line in lines)


def _why_unread(name: str, kind: str, defined: bool) -> str:
    if is_packets(kind):
        missing = "" if defined else ", and their definition is not in the bag"
        return f"raw packets of a sensor{missing}"
    if kind.endswith(_OTHER_POINTS):
        return "points in a message of their own, not PointCloud2"
    if kind in (IMAGE, COMPRESSED) and name.endswith(_UNREAD):
        return "neither JPEG nor PNG"
    return "" if defined else "the definition of its type is not in the bag"


def is_packets(kind: str) -> bool:
    """Whether a type holds a sensor's packets, which are no points yet."""
    return any(part in kind.rpartition("/")[2] for part in _PACKETS)


def choose_lidars(topics: Sequence[Topic], wanted: Sequence[str] | None, root: Path) -> list[str]:
    """The topics of points: the only one, those that are named, or `all`.

    Raises:
        DataError: there is none, several and none named, or one that is named is none.
    """
    clouds = list(dict.fromkeys(topic.name for topic in topics if topic.use == "points" and topic.count))
    if not clouds:
        fail(_no_clouds(topics), root, _no_clouds_remedy(topics))
    if wanted is None:
        if len(clouds) > 1:
            fail(
                f"there are {len(clouds)} topics with points:\n{_lines(topics, 'points')}",
                root,
                "name those of the LiDARs: --lidar-topics TOPIC ..., or all; the first one leads",
            )
        return clouds
    if list(wanted) == ["all"]:
        return clouds
    check_known(wanted, clouds, "points", root, "--lidar-topics")
    return list(dict.fromkeys(wanted))


def check_known(wanted: Sequence[str], known: Sequence[str], what: str, root: Path, option: str) -> None:
    """Refuse names of topics that are none.

    Raises:
        DataError: the first of them.
    """
    for name in wanted:
        if name not in known:
            there = ", ".join(known) or "none"
            fail(f"no topic {name!r} with {what}{did_you_mean(name, known)}", root, f"{option}: {there}")


def _no_clouds(topics: Sequence[Topic]) -> str:
    packets = [topic for topic in topics if is_packets(topic.kind) or topic.kind.endswith(_OTHER_POINTS)]
    seen = "; ".join(dict.fromkeys(f"{topic.name} ({topic.kind}) holds {topic.note}" for topic in packets))
    if seen:
        return f"no topic with points (PointCloud2): {seen}"
    others = ", ".join(dict.fromkeys(f"{topic.name} ({topic.kind})" for topic in topics)) or "nothing"
    return f"no topic with points (PointCloud2); there is {others}"


def _no_clouds_remedy(topics: Sequence[Topic]) -> str:
    if any(is_packets(topic.kind) for topic in topics):
        return "play the bag through the sensor's driver and record the PointCloud2 topic that it publishes"
    return "record the PointCloud2 topic of the LiDAR"


def _lines(topics: Sequence[Topic], use: str) -> str:
    seen = {topic.name: topic for topic in reversed(topics) if topic.use == use and topic.count}
    return "\n".join(
        f"  {topic.name}: {topic.count} messages, {topic.rate:.1f} Hz"
        for topic in sorted(seen.values(), key=lambda topic: topic.name)
    )
