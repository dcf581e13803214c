"""Image and CompressedImage messages as RGB arrays, or as bytes of an image file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pc3d.data.errors import fail
from pc3d.data.readers.bag.topics import COMPRESSED

UInt8 = NDArray[np.uint8]

_COLOURS: dict[str, tuple[int, tuple[int, ...]]] = {
    "rgb8": (3, (0, 1, 2)),
    "8UC3": (3, (2, 1, 0)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "8UC4": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
}
"""Bytes of a pixel, and which are red, green, blue. `8UC3` says no order; OpenCV's is blue first."""
_BAYER = {
    "bayer_rggb8": (0, 0),
    "bayer_grbg8": (0, 1),
    "bayer_gbrg8": (1, 0),
    "bayer_bggr8": (1, 1),
}
"""Row and column, in each 2 x 2 pixels, of the red one."""
_REMEDY = "leave the topic out, or convert its images to JPEG"


def picture_size(kind: str, message: Any, where: str) -> tuple[int, int]:
    """(width, height) of an image message.

    Raises:
        DataError: it is no JPEG, PNG, or image of a known encoding.
    """
    if kind != COMPRESSED:
        return int(message.width), int(message.height)
    try:
        with Image.open(io.BytesIO(_compressed(message, where)), formats=("JPEG", "PNG")) as image:
            return image.size
    except OSError as error:
        fail(f"the compressed image cannot be read: {error}", where, _REMEDY)


def picture_file(kind: str, message: Any, where: str, compress: int = 0) -> tuple[bytes, str]:
    """Bytes of an image file, and its ending: a JPEG or PNG as it is, a raw image as PNG.

    Args:
        compress: of the PNG, zlib's 0 to 9; 0 is quick to write and to read.

    Raises:
        DataError: it is neither.
    """
    if kind == COMPRESSED:
        data = _compressed(message, where)
        return data, ".png" if data.startswith(b"\x89PNG") else ".jpg"
    buffer = io.BytesIO()
    Image.fromarray(picture_rgb(message, where)).save(buffer, "PNG", compress_level=compress)
    return buffer.getvalue(), ".png"


def image_bytes(path: Path, key: str) -> bytes:
    """The image of a message of a bag, as bytes of an image file.

    Raises:
        DataError: the bag or the message is missing or damaged.
        ImportError: the package `rosbags` is not installed.
    """
    from pc3d.data.readers.bag.opened import opened

    with opened(path) as bag:
        message = bag.message(key)
    return picture_file(message.kind, message.content, f"{path}, {key}")[0]


def _compressed(message: Any, where: str) -> bytes:
    data = np.asarray(message.data, dtype=np.uint8).tobytes()
    if not data.startswith((b"\xff\xd8", b"\x89PNG")):
        fail(f"a compressed image of the format {message.format!r} is neither JPEG nor PNG", where, _REMEDY)
    return data


def picture_rgb(message: Any, where: str) -> UInt8:
    """(H, W, 3) RGB of an Image message; its rows may be padded.

    Raises:
        DataError: an unknown encoding, or less data than it should have.
    """
    encoding = str(message.encoding)
    if encoding in _COLOURS:
        size, order = _COLOURS[encoding]
        return _rows(message, size, where)[:, :, list(order)]
    if encoding in ("mono16", "16UC1"):
        high = 0 if message.is_bigendian else 1
        return _rows(message, 2, where)[:, :, [high, high, high]]
    if encoding in _BAYER:
        return _demosaic(_rows(message, 1, where)[:, :, 0], *_BAYER[encoding])
    if encoding in _YUV:
        return _YUV[encoding](message, where)
    fail(f"unknown image encoding {encoding!r}", where, f"{_REMEDY}; known: {', '.join(ENCODINGS)}")


def _rows(message: Any, size: int, where: str, extra: int = 0) -> UInt8:
    """(H + extra, W, size) bytes of pixels."""
    height, width = int(message.height) + extra, int(message.width)
    step = int(message.step) or width * size
    data = np.asarray(message.data, dtype=np.uint8)
    need = (height - 1) * step + width * size
    if not height or not width or step < width * size or len(data) < need:
        fail(
            f"an image of {width} x {height} pixels ({message.encoding}), {step} bytes a row, has "
            f"{len(data)} bytes",
            where,
            _REMEDY,
        )
    return np.ndarray((height, width, size), np.uint8, np.ascontiguousarray(data), 0, (step, size, 1))


def _demosaic(mosaic: UInt8, row: int, column: int) -> UInt8:
    """(H, W, 3): each colour is the mean of its pixels among the 3 x 3 around, weighted 1 2 1."""
    height, width = mosaic.shape
    colours = np.full((height, width), 1)
    colours[row::2, column::2] = 0
    colours[1 - row :: 2, 1 - column :: 2] = 2
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    for colour in range(3):
        of = (colours == colour).astype(np.float32)
        mean = _blurred(mosaic * of) / np.maximum(_blurred(of), 1e-6)
        rgb[:, :, colour] = np.where(of > 0, mosaic, np.rint(mean))
    return rgb


def _blurred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums of 3 x 3 with the weights 1 2 1, zero outside."""
    padded = np.pad(values, 1)
    down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]


def _packed_yuv(luma: int, u: int, v: int) -> Callable[[Any, str], UInt8]:
    """A decoder of two pixels in four bytes: where the first luma, and both colours stand."""

    def decode(message: Any, where: str) -> UInt8:
        width = int(message.width)
        flat = _rows(message, 2, where).reshape(int(message.height), -1)[:, : 2 * (width // 2) * 2]
        y = flat[:, luma::2]
        return _yuv_to_rgb(y, np.repeat(flat[:, u::4], 2, axis=1), np.repeat(flat[:, v::4], 2, axis=1))

    return decode


def _nv12(message: Any, where: str) -> UInt8:
    """Luma, then half as many rows of pairs of colours (NV21: exchanged)."""
    height, width = int(message.height), int(message.width)
    flat = _rows(message, 1, where, extra=(height + 1) // 2)[:, :, 0]
    pairs = flat[height:].repeat(2, axis=0)[:height]
    order = (0, 1) if str(message.encoding) == "nv12" else (1, 0)
    u, v = (np.repeat(pairs[:, at::2], 2, axis=1)[:, :width] for at in order)
    return _yuv_to_rgb(flat[:height], u, v)


def _yuv_to_rgb(y: UInt8, u: UInt8, v: UInt8) -> UInt8:
    """BT.601 of limited range (16 to 235), as OpenCV's YUV 4:2:2 and 4:2:0."""
    luma = 1.164 * np.maximum(y.astype(np.float32) - 16, 0)
    blue, red = u.astype(np.float32) - 128, v.astype(np.float32) - 128
    rgb = np.stack([luma + 1.596 * red, luma - 0.813 * red - 0.391 * blue, luma + 2.018 * blue], axis=2)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


_YUV: dict[str, Callable[[Any, str], UInt8]] = {
    "yuv422": _packed_yuv(1, 0, 2),
    "uyvy": _packed_yuv(1, 0, 2),
    "yuv422_yuy2": _packed_yuv(0, 1, 3),
    "yuyv": _packed_yuv(0, 1, 3),
    "nv12": _nv12,
    "nv21": _nv12,
}
ENCODINGS = (*_COLOURS, "mono16", *_BAYER, *_YUV)
"""Raw images that are pictures; others hold depth or features. `16UC1` is decoded where it is asked for."""
