"""Images inside files that hold many: by the ending of the file, what gets the bytes of one by its key."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from pc3d.data.errors import fail

_BAG = "pc3d.data.readers.bag.pictures:image_bytes"
CONTAINERS: dict[str, str] = {
    ".bag": _BAG,
    ".mcap": _BAG,
    ".db3": _BAG,
    ".yaml": _BAG,  # the metadata.yaml of a ROS 2 bag, which is a folder
    ".parquet": "pc3d.data.readers.parquet_rows:image_bytes",
}
"""Functions `(path, key) -> bytes` of a JPEG or PNG file, by the ending of the file that holds it."""


def open_bytes(path: str | Path, key: str) -> bytes:
    """The bytes of an image file that lies in another file.

    Args:
        path: the file that holds it.
        key: which of its images.

    Raises:
        DataError: no such kind of file; it is missing or damaged, or has no such image.
        ImportError: a package that reads it is not installed.
    """
    path = Path(path)
    where = CONTAINERS.get(path.suffix)
    if where is None:
        fail(
            f"files of the ending {path.suffix!r} hold no images by keys",
            f"{path}, {key}",
            f"an image with a key lies in one of {', '.join(CONTAINERS)}",
        )
    module, _, function = where.partition(":")
    opener: Callable[[Path, str], bytes] = getattr(import_module(module), function)
    return opener(path, key)
