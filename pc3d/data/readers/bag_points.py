"""The point decoder of bags: a PointCloud2 message, found by its key."""

from __future__ import annotations

from pathlib import Path

from pc3d.data.points.decoders import Raw
from pc3d.data.points.formats import PointFormat
from pc3d.data.readers.bag.clouds import cloud_columns
from pc3d.data.readers.bag.opened import opened


def decode(path: Path, key: str, layout: PointFormat) -> Raw:
    """The columns of the message `key` of a bag (`opened.Message`).

    Raises:
        DataError: the bag or the message is missing or damaged.
        ImportError: the package `rosbags` is not installed.
    """
    with opened(path) as bag:
        columns = cloud_columns(bag.message(key).content, f"{path}, {key}")
    wanted = {*layout.sources, layout.option("where").partition(":")[0]} - {"", "_"}
    if not wanted <= columns.keys():
        return columns  # whoever asks for more says what there is
    return {name: columns[name] for name in wanted}
