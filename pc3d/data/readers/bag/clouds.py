"""PointCloud2 messages: any layout of fields in, a column for each field out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_REMEDY = "the driver wrote a broken message: leave its topic or this time out"


def cloud_columns(cloud: Any, where: str) -> dict[str, NDArray]:
    """The columns of a PointCloud2 by field name, (P,) each, row after row.

    Fields may have gaps between them, any order and either byte order; rows may be padded, and a step of
    zero bytes between rows stands for rows without padding, as some drivers write it. Of a field of several
    numbers column `NAME` is the first and `NAME.K` the K-th more. Of two fields of one name the first counts.

    Args:
        cloud: the message.
        where: for the error message.

    Raises:
        DataError: a field lies outside of its point, or the data are shorter than they should be.
    """
    height, width, point = int(cloud.height), int(cloud.width), int(cloud.point_step)
    row = _row_bytes(cloud, where)
    data = np.ascontiguousarray(cloud.data, dtype=np.uint8)
    order = ">" if cloud.is_bigendian else "<"
    columns: dict[str, NDArray] = {}
    for field in cloud.fields:
        dtype = _dtype(field, point, order, where)
        for number in range(max(1, int(field.count))):
            name = f"{field.name}.{number}" if number else str(field.name)
            if name in columns:
                continue
            start = int(field.offset) + number * dtype.itemsize
            columns[name] = np.empty(height * width, dtype=dtype.newbyteorder("="))
            if height * width:
                stored: NDArray = np.ndarray((height, width), dtype, data, start, (row, point))
                columns[name].reshape(height, width)[:] = stored
    return columns


def is_empty(cloud: Any) -> bool:
    """Whether it holds no point."""
    return not (int(cloud.height) and int(cloud.width) and len(cloud.data))


def _row_bytes(cloud: Any, where: str) -> int:
    """Bytes from row to row; the last row may lack its padding."""
    height, width, point = int(cloud.height), int(cloud.width), int(cloud.point_step)
    packed = width * point
    row = int(cloud.row_step) or packed
    if row < packed and height == 1:
        row = packed
    need = (height - 1) * row + packed if height and width else 0
    if row < packed or len(cloud.data) < need:
        fail(
            f"a PointCloud2 of {height} x {width} points of {point} bytes, {row} bytes a row, has "
            f"{len(cloud.data)} bytes",
            where,
            _REMEDY,
        )
    return row


def _dtype(field: Any, point: int, order: str, where: str) -> np.dtype:
    kind = _TYPES.get(int(field.datatype))
    if kind is None:
        fail(f"field {field.name!r} has the unknown datatype {field.datatype}", where, _REMEDY)
    dtype = np.dtype(order + kind)
    end = int(field.offset) + max(1, int(field.count)) * dtype.itemsize
    if end > point:
        fail(f"field {field.name!r} ends at byte {end} of points of {point} bytes", where, _REMEDY)
    return dtype
