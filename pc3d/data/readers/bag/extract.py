"""Points and images of a bag as files, in the order in which the bag has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pc3d.data.points.formats import point_format
from pc3d.data.points.load import points_of_columns
from pc3d.data.readers.bag.clouds import cloud_columns
from pc3d.data.readers.bag.opened import Bag, Message
from pc3d.data.readers.bag.pictures import picture_file
from pc3d.data.readers.bag.topics import CLOUD
from pc3d.data.readers.extraction import write_frame

_COMPRESS = 1  # of PNG: a third of the bytes of none, at 50 MB/s


@dataclass(frozen=True)
class Extract:
    """A message that is wanted as a file.

    Attributes:
        key: of the message. stem: of the file, without its ending. timestamp: of its cloud, microseconds.
        lidar_format: of a cloud, "" for images.
    """

    key: str
    stem: Path
    timestamp: int
    lidar_format: str = ""


def extract(bag: Bag, wanted: list[Extract], topics: list[str], where: Path) -> dict[str, Path]:
    """Write messages as files; those that are there stay. Returns the file of each key.

    Args:
        topics: of the messages.

    Raises:
        DataError: a message is damaged, or its points are not of their format.
    """
    files: dict[str, Path] = {}
    missing: dict[str, Extract] = {}
    for one in wanted:
        endings = [".bin"] if one.lidar_format else [".jpg", ".png"]
        there = next((path for end in endings if (path := one.stem.with_suffix(end)).is_file()), None)
        if there is None:
            missing[one.key] = one
        else:
            files[one.key] = there
    if missing:
        for message in bag.messages(topics):
            if message.key in missing:
                files[message.key] = _written(message, missing[message.key], where)
    return files


def _written(message: Message, one: Extract, where: Path) -> Path:
    place = f"{where}, {message.key}"
    if message.kind == CLOUD:
        layout = point_format(one.lidar_format)
        columns = cloud_columns(message.content, place)
        data, ending = points_of_columns(columns, layout, one.timestamp, place).tobytes(), ".bin"
    else:
        data, ending = picture_file(message.kind, message.content, place, _COMPRESS)
    path = one.stem.with_suffix(ending)
    write_frame(path, data)
    return path
