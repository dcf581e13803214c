"""Files of arrays by name (`.npz`): equal arrays give equal bytes, and a changed bit is noticed."""

from __future__ import annotations

import io
import struct
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
    *(struct.error, zipfile.BadZipFile, zlib.error),
)


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
            # Read to its end, where its checksum is compared; `np.load` stops at the last value.
            return {name.removesuffix(".npy"): _array(archive.read(name)) for name in names}
    except _DAMAGED as error:
        raise ValueError(f"no whole file of arrays ({type(error).__name__}: {error})") from error


def _array(content: bytes) -> NDArray:
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
