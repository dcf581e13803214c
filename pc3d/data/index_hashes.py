"""Hashes in the metadata of an index: of itself, of the maps beside it, and of what the rows say.

An index of earlier versions has none of them; then nothing is checked.
"""

from __future__ import annotations

import hashlib
import json
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.whole import file_sha256, new_file

_KEYS = {"content", "maps", "metadata_sha256"}
_FIELDS = {"tokens": ("hash", "row"), "sections": ("stop", "sha256")}
# What may change while the data stay the same: where they lie, how they are stored, and remarks.
_NOT_CONTENT = {"root", "rebuild", "notes", "schema_version", "rows_per_group", "groups_per_part"}


class RowsHash:
    """SHA-256 of rows as sorted JSON; the paths in them start from the data set root."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, row: dict[str, Any]) -> None:
        """Take in the next row."""
        self._hash.update(_canonical(row))

    @property
    def hexdigest(self) -> str:
        """Of all rows so far."""
        return self._hash.hexdigest()


def save_map(path: Path, array: NDArray) -> str:
    """Write an array as `.npy`; returns the file's SHA-256."""
    with new_file(path) as file:
        np.save(file, array, allow_pickle=False)  # type: ignore[arg-type]
    return file.sha256


def open_map(folder: Path, name: str, metadata: dict[str, Any]) -> NDArray:
    """Map `NAME.npy` of an index into memory, once it was read to check its hash.

    Raises:
        ValueError, OSError, EOFError: the file is missing or damaged.
    """
    path = folder / f"{name}.npy"
    if "maps" in metadata and file_sha256(path) != metadata["maps"][name]:
        raise ValueError("the file does not have the hash that was written with it")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.names != _FIELDS.get(name):
            raise ValueError("it holds something else")
        return array
    except (SyntaxError, TypeError, tokenize.TokenError) as error:  # a header that is not checked
        raise ValueError(f"its header cannot be read: {error}") from error


def seal(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata, as they are read again from JSON, with their own hash; they need "content" and "maps"."""
    metadata = json.loads(_canonical(metadata))
    metadata.pop("metadata_sha256", None)
    return {**metadata, "metadata_sha256": _sha256(metadata)}


def check_seal(metadata: dict[str, Any]) -> None:
    """Compare metadata with their own hash.

    Raises:
        ValueError: they were changed.
    """
    present = _KEYS & metadata.keys()
    rest = {key: value for key, value in metadata.items() if key != "metadata_sha256"}
    if present and (present != _KEYS or metadata["metadata_sha256"] != _sha256(rest)):
        raise ValueError("it does not have the hash that was written with it")


def fingerprint(folder: Path, metadata: dict[str, Any]) -> str:
    """Hash of what an index says, the same wherever the index and the data set lie.

    An index of earlier versions has no hash of its rows; the tokens and the order of the rows stand for them.
    """
    facts = {key: value for key, value in metadata.items() if key not in _NOT_CONTENT | _KEYS}
    if "content" in metadata:
        rows = metadata["content"]
    else:
        rows = [file_sha256(path) for path in sorted(folder.glob("*.npy"))]
    return _sha256({"facts": facts, "rows": rows})


def _sha256(value: Any) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()


def _canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)
    return text.encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
