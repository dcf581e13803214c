"""What a bag says before it is read whole: its first messages, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.errors import DataError
from pc3d.data.readers.bag.clouds import cloud_columns, is_empty
from pc3d.data.readers.bag.look import Columns, Look
from pc3d.data.readers.bag.opened import Bag, Message
from pc3d.data.readers.bag.options import BagOptions
from pc3d.data.readers.bag.pictures import ENCODINGS, picture_size
from pc3d.data.readers.bag.scan import is_static, stamp_of, tf_topics
from pc3d.data.readers.bag.topics import COMPRESSED, Topic
from pc3d.data.readers.bag.transforms import TransformTree

_CLOUDS = 3
_TRIES = 20
_TRANSFORMS = 500


def first_message(bag: Bag, topic: str) -> Message | None:
    """The first message of a topic, None where there is none."""
    return next(bag.messages([topic]), None)


def first_transforms(bag: Bag) -> TransformTree:
    """The fixed transforms of a bag, and those of its start."""
    tree = TransformTree()
    for topic in tf_topics(bag):
        for number, message in enumerate(bag.messages([topic])):
            tree.add_message(message.content, is_static(topic))
            if number >= _TRANSFORMS:
                break
    return tree


def look_at(bag: Bag, topic: str, options: BagOptions, where: Path) -> Look | None:
    """Clouds of a topic from the start, the middle and the end of a bag; None if all of them are empty.

    Raises:
        DataError: a cloud is damaged.
    """
    clouds: list[Columns] = []
    stamps: list[int] = []
    gaps: list[int] = []
    seen: set[str] = set()
    third = (bag.end - bag.start) // _CLOUDS
    for part in range(_CLOUDS):
        messages = bag.messages([topic], bag.start + part * third)
        for message in islice(messages, _TRIES):
            if is_empty(message.content) or message.key in seen:
                continue
            seen.add(message.key)
            clouds.append(cloud_columns(message.content, f"{where}, {message.key}"))
            stamps.append(stamp_of(message, options)[0])
            gaps += [stamp_of(following, options)[0] - stamps[-1] for following in islice(messages, 1)]
            break
    if not clouds:
        return None
    return Look(topic, clouds, [1e-9 * stamp for stamp in stamps], _period(bag, topic, gaps))


def _period(bag: Bag, topic: str, gaps: Sequence[int]) -> float | None:
    """Seconds from cloud to cloud; the bag as a whole tells it where stamps do not, if badly: a topic may
    be in a part of it only."""
    ahead = [gap for gap in gaps if gap > 0]
    if ahead:
        return 1e-9 * float(np.median(ahead))
    count = bag.count(topic)
    return 1e-9 * (bag.end - bag.start) / (count - 1) if count > 1 else None


@dataclass
class Pictures:
    """First images and CameraInfos of a bag.

    Attributes:
        sizes: (width, height) of the images, and of what each CameraInfo says, by topic.
        unfit: why images of a topic are not taken for those of a camera.
    """

    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    unfit: dict[str, str] = field(default_factory=dict)


def pictures_of(bag: Bag, topics: Sequence[Topic], where: Path) -> Pictures:
    """What the first message of each topic of images and CameraInfo says."""
    found = Pictures()
    for topic in topics:
        if topic.use not in ("images", "calibration of a camera") or not topic.count:
            continue
        message = first_message(bag, topic.name)
        if message is None:
            continue
        content: Any = message.content
        if topic.use != "images":
            found.sizes[topic.name] = int(content.width), int(content.height)
            continue
        if topic.kind != COMPRESSED and content.encoding not in ENCODINGS:
            found.unfit[topic.name] = f"its encoding is {content.encoding}"
        try:
            found.sizes[topic.name] = picture_size(topic.kind, content, f"{where}, {topic.name}")
        except DataError as error:
            found.unfit[topic.name] = str(error).partition("\n")[0]
    return found
