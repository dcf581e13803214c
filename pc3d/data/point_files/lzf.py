"""LZF, the compression of PCD files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.compiled import njit

MOST_RATIO = 88
"""Three bytes stand for at most 264."""
_CUT, _TOO_LONG, _BEFORE_START = -1, -2, -3
_REASONS = {
    _CUT: "it ends within a word",
    _TOO_LONG: "it unpacks to more than its header says",
    _BEFORE_START: "it refers to bytes before its start",
}


def decompress(packed: bytes, size: int) -> NDArray[np.uint8]:
    """The (size,) bytes that LZF data unpack to.

    Raises:
        ValueError: they unpack to another number of bytes, or are no LZF data.
    """
    if size > MOST_RATIO * len(packed):
        raise ValueError(f"{len(packed)} bytes of LZF cannot unpack to {size}")
    unpacked = np.zeros(size, dtype=np.uint8)
    length = int(_decompress(np.frombuffer(packed, dtype=np.uint8), unpacked))
    if length != size:
        raise ValueError(f"LZF data: {_REASONS.get(length, f'it unpacks to {length} bytes, not {size}')}")
    return unpacked


@njit(cache=True)
def _decompress(packed: NDArray[np.uint8], unpacked: NDArray[np.uint8]) -> int:  # pragma: no cover
    """Fill `unpacked`; gives how much of it, or below 0 what is wrong."""
    end, room = len(packed), len(unpacked)
    at = out = np.int64(0)
    while at < end:
        word = np.int64(packed[at])
        at += 1
        if word < 32:  # a run of bytes as they are
            length = word + 1
            if at + length > end:
                return _CUT
            if out + length > room:
                return _TOO_LONG
            for n in range(length):
                unpacked[out + n] = packed[at + n]
            at += length
        else:  # a run that stands further back, and may overlap itself
            length = word >> 5
            if length == 7:
                if at >= end:
                    return _CUT
                length += np.int64(packed[at])
                at += 1
            if at >= end:
                return _CUT
            start = out - ((word & 31) << 8) - np.int64(packed[at]) - 1
            at += 1
            length += 2
            if start < 0:
                return _BEFORE_START
            if out + length > room:
                return _TOO_LONG
            for n in range(length):
                unpacked[out + n] = unpacked[start + n]
        out += length
    return int(out)
