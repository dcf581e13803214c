"""Image files, opened: what the header says is checked before a pixel is decoded."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from pc3d.data.containers import open_bytes
from pc3d.data.errors import DataError, fail

FORMATS = ("JPEG", "PNG")
MOST_PIXELS = 1 << 26
"""200 MB once decoded; cameras of vehicles have up to 12 million."""

_OTHERS = {
    rb"GIF8": "a GIF",
    rb"RIFF....WEBP": "a WebP",
    rb"II\*\0|MM\0\*": "a TIFF",
    rb"BM": "a BMP",
    rb"....ftyp": "a HEIC or AVIF",
    rb"\xff\x4f\xff\x51|\0\0\0\x0cjP": "a JPEG 2000",
}
"""Formats by how their files begin."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[tag] for tag in (5, 6, 7, 8)}
_AGAIN = "copy the file again from the data set; a data set that moved is opened with `root=`"


@contextmanager
def open_image(
    path: str | Path,
    size: tuple[int, int] | None = None,
    where: str = "",
    remedy: str = _AGAIN,
    key: str = "",
) -> Iterator[ImageFile.ImageFile]:
    """Open an image, not decoded yet; decode it within the block.

    Args:
        path: JPEG or PNG.
        size: (width, height) that it must have, once it is turned as its EXIF orientation says.
        where, remedy: for the error messages.
        key: of the image in a file that holds many, see `pc3d.data.containers`.

    Raises:
        DataError: the file is missing, no image, of another size or too large; whatever fails in the block.
    """
    where = where or f"{path}, {key}" * bool(key) or str(path)
    try:
        with Image.open(io.BytesIO(open_bytes(path, key)) if key else path, formats=FORMATS) as image:
            _check_size(image, size, where)
            yield image
    except (DataError, ImportError):
        raise
    except UnidentifiedImageError:
        if kind := "" if key else _other_kind(path):
            fail(f"the image is {kind}; pc3d reads JPEG and PNG", where, "write the images as JPEG or PNG")
        fail("image cannot be read: it is no JPEG or PNG", where, remedy)
    except Exception as error:  # of a damaged file: of many kinds
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"image cannot be read: {what}\n  where: {where}\n  remedy: {remedy}") from error


def _other_kind(path: str | Path) -> str:
    """The format of an image that is neither JPEG nor PNG, "" where it is none that is known."""
    with open(path, "rb") as file:
        start = file.read(16)
    return next((kind for magic, kind in _OTHERS.items() if re.match(magic, start, re.DOTALL)), "")


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What makes a picture upright by its EXIF orientation, None where it is.

    Calibration speaks of the picture as a viewer shows it, and so do the sizes in the tables.
    """
    return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))


def _check_size(image: Image.Image, size: tuple[int, int] | None, where: str) -> None:
    stored = image.size
    if stored[0] * stored[1] > MOST_PIXELS:
        fail(f"the image has {stored[0]} x {stored[1]} pixels, more than any camera's", where, _AGAIN)
    if size is None:
        return
    said = f"the tables say {size[0]} x {size[1]} (width x height)"
    if sorted(stored) != sorted(size):  # before the orientation is asked for, which may decode a PNG
        fail(f"the image has {stored[0]} x {stored[1]} pixels, {said}", where, _SIZE)
    turned = turn_of(image) in _SIDEWAYS
    if (stored[::-1] if turned else stored) != tuple(size):
        how = "its EXIF orientation turns it by 90 degrees" if turned else "it is stored turned by 90 degrees"
        fail(f"the image has {stored[0]} x {stored[1]} pixels and {how}, {said}", where, _TURNED)


_SIZE = (
    "copy the image again, or correct width, height and the intrinsics in the tables and build the index "
    "again: points are projected to the tables' size"
)
_TURNED = (
    "write it upright, without an orientation (`exiftran -ai`, `ImageOps.exif_transpose`), in the size of "
    "the tables; the intrinsics are those of the upright picture"
)
