"""Pickles of data frames, put together byte by byte as pandas before 1.3 writes them."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_NONE, _FALSE, _ONE = b"N", b"\x89", b"K\1"


def pickled_frame(columns: Mapping[str, NDArray], frame: str = "pandas.core.frame DataFrame") -> bytes:
    """A frame with one block a column; texts are arrays of objects.

    Args:
        frame: module and name that stand for the frame.
    """
    rows = len(next(iter(columns.values())))
    names = _array(np.array(list(columns), dtype=object))
    column_axis = _index("pandas.core.indexes.base Index", {"data": names, "name": _NONE})
    span = {"name": _NONE, "start": b"K\0", "stop": _int(rows), "step": _ONE}
    row_axis = _index("pandas.core.indexes.range RangeIndex", span)
    blocks = [_block(column, place) for place, column in enumerate(columns.values())]
    parts = _dict({"axes": _list([column_axis, row_axis]), "blocks": _list(blocks)})
    state = b"(" + 3 * _NONE + _dict({"0.14.1": parts}) + b"t"
    manager = _name("pandas.core.internals.managers BlockManager") + b")\x81" + state + b"b"
    return b"\x80\3" + _name(frame) + b")\x81" + _dict({"_data": manager}) + b"b."


def _name(name: str) -> bytes:
    module, _, attribute = name.partition(" ")
    return f"c{module}\n{attribute}\n".encode()


def _call(name: str, *arguments: bytes) -> bytes:
    return _name(name) + b"(" + b"".join(arguments) + b"tR"


def _int(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _list(items: list[bytes]) -> bytes:
    return b"](" + b"".join(items) + b"e"


def _dict(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(_text(key) + value for key, value in items.items()) + b"u"


def _index(kind: str, entries: Mapping[str, bytes]) -> bytes:
    return _call("pandas.core.indexes.base _new_Index", _name(kind), _dict(entries))


def _array(values: NDArray) -> bytes:
    """The call that makes an array, and its state: version, shape, type, order, values."""
    made = _call("numpy.core.multiarray _reconstruct", _name("numpy ndarray"), b"(K\0t", b"C\1b")
    shape = b"(" + b"".join(map(_int, values.shape)) + b"t"
    if values.dtype.hasobject:
        data = _list([_text(text) for text in values.ravel()])
    else:
        data = b"B" + struct.pack("<I", values.nbytes) + values.tobytes()
    return made + b"(" + _ONE + shape + _dtype(values.dtype) + _FALSE + data + b"tb"


def _dtype(dtype: np.dtype) -> bytes:
    kind = "O8" if dtype.hasobject else dtype.str[1:]
    order = _text("<" if dtype.str[0] == "<" else "|")
    made = _call("numpy dtype", _text(kind), b"K\0", _ONE)
    return made + b"(K\3" + order + 3 * _NONE + _int(-1) + _int(-1) + b"K\0tb"


def _block(column: NDArray, place: int) -> bytes:
    where = _call("builtins slice", _int(place), _int(place + 1), _ONE)
    return _dict({"values": _array(column[None]), "mgr_locs": where})
