"""Files of arrays by name (`.npz`): equal arrays give equal bytes, and a changed bit is noticed."""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.whole import write_bytes

# What a damaged archive can lead to: zipfile and zlib check as they read, each with errors of its own.
_DAMAGED = (
    *(
        EOFError,
        KeyError,
        MemoryError,
        OSError,
        OverflowError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
    ),
    *(struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
MOST_BYTES = 1 << 28
"""Arrays together, or as large as the file: what was compressed is the regions of one sweep, some 20 MB."""


def save_arrays(path: Path, arrays: Mapping[str, Any], compressed: bool = False, durable: bool = True) -> str:
    """Write arrays, all or nothing; `np.load` reads them too.

    Args:
        path: `.npz` file; its folder must exist.
        arrays: by name, none of Python objects.
        compressed: for what repeats itself, such as region ids.
        durable: as in `pc3d.storage.whole.new_file`.

    Returns:
        SHA-256 of the file.
    """
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    return write_bytes(path, content.getvalue(), durable)


def load_arrays(path: Path) -> dict[str, NDArray]:
    """All arrays of a file of `save_arrays`; nothing in it is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged.
    """
    content = Path(path).read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            # A wrong length in the directory hides the members after it; their number stands at its end.
            if int.from_bytes(content[-12:-10], "little") != len(names):
                raise ValueError(f"it lists {len(names)} arrays, but was written with others")
            _check_members(archive, len(content))
            # Read to its end, where its checksum is compared; `np.load` stops at the last value.
            return {name.removesuffix(".npy"): _array(archive.read(name)) for name in names}
    except _DAMAGED as error:
        raise ValueError(f"no whole file of arrays ({type(error).__name__}: {error})") from error


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse what `save_arrays` does not write, before anything is unpacked."""
    members = archive.infolist()
    if len({member.filename for member in members}) != len(members):
        raise ValueError("it holds two arrays of one name")
    if not {member.compress_type for member in members} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError("it is compressed in another way than `.npz` files are")
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(MOST_BYTES, size):
        raise ValueError(f"its {size} bytes unpack to {unpacked}")


def _array(content: bytes) -> NDArray:
    """An array of plain values from a `.npy` file, whose header is compared with the bytes that follow it."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"an array of format {version}")
    shape, _, dtype = read[version](file)
    if dtype.kind not in "biufU":
        raise ValueError(f"an array of {dtype}, which is no plain number or text; pickles are not loaded")
    here = len(content) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != here:
        raise ValueError(f"an array of shape {shape} and type {dtype} in {here} bytes")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)
