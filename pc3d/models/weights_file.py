"""The safetensors file of pc3d: equal tensors and metadata give equal bytes, and a changed bit is noticed.

The format's own metadata is a map that is written in a random order. Ours has one entry, `pc3d`: sorted
JSON with the caller's metadata, its SHA-256, and that of the tensors. Files without it (of other projects
and of earlier pc3d) are read as they are, unchecked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from pc3d.data.errors import DataError
from pc3d.storage.whole import new_file

_ENTRY = "pc3d"
_METADATA = "__metadata__"  # the format's name for the map of texts in the header
_MAX_HEADER = 100_000_000  # bytes; the format's own bound
# What the header of an unchecked file can lead to: an unknown type, too large a shape, wrong lengths.
_UNREADABLE = (
    *(SafetensorError, ArithmeticError, AssertionError, LookupError),
    *(MemoryError, RuntimeError, TypeError, ValueError),
)
_DAMAGED = "copy the file again from where it is whole, or run again what wrote it"


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write tensors as safetensors, all or nothing.

    Args:
        path: file to write; its folder must exist.
        tensors: on the CPU, contiguous, none sharing memory with another.
        metadata: plain text facts.

    Returns:
        SHA-256 of the file.
    """
    data = memoryview(safetensors.torch.save(dict(tensors)))
    length = int.from_bytes(data[:8], "little")
    header, data = json.loads(bytes(data[8 : 8 + length])), data[8 + length :]
    facts = {
        "metadata": dict(metadata),
        "metadata_sha256": _metadata_sha256(metadata),
        "tensors_sha256": _tensors_sha256(header, data),
    }
    header = {_METADATA: {_ENTRY: json.dumps(facts, sort_keys=True)}, **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors start at a multiple of 8
    with new_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(data)
    return file.sha256


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, on the CPU, and its metadata; both checked against their hashes.

    Raises:
        FileNotFoundError: no such file.
        DataError: not a safetensors file, or one that is damaged.
    """
    path = Path(path)
    content, metadata, _ = _read(path)
    try:
        return safetensors.torch.load(content), metadata
    except _UNREADABLE as error:
        raise _error(path, f"is not a safetensors file: {error}") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file, checked against its hash; the tensors are not read.

    Raises:
        FileNotFoundError: no such file.
        DataError: not a safetensors file, or one whose header is damaged.
    """
    path = Path(path)
    with _open(path) as file:
        return _metadata(path, _header(path, file))[0]


def content_hash(path: str | Path) -> str:
    """Hash of the tensors and the metadata of a safetensors file, both checked; 64 hexadecimal digits.

    It depends neither on the file's name nor on the order of the metadata in it, so a file of an earlier
    pc3d has the hash of the same content written today.

    Raises:
        FileNotFoundError, DataError: as `read_weights`.
    """
    _, metadata, tensors = _read(Path(path))
    return sha256((_metadata_sha256(metadata) + tensors).encode()).hexdigest()


def _read(path: Path) -> tuple[bytes, dict[str, str], str]:
    """Content, metadata and the tensors' hash of a file, checked."""
    # Not mapped into memory: a file that is cut while it is mapped kills the process.
    with _open(path) as file:
        header = _header(path, file)
        start = file.tell()
        file.seek(0)
        content = file.read()
    metadata, expected = _metadata(path, header)
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != _METADATA]
    if len(content) - start != max(ends, default=0):
        raise _error(path, "is not a safetensors file: it does not end with its last tensor")
    tensors = _tensors_sha256(header, memoryview(content)[start:])
    if expected is not None and tensors != expected:
        raise _error(path, "is damaged: its tensors do not have the hash that was written with them")
    return content, metadata, tensors


def _open(path: Path) -> BinaryIO:
    if not path.is_file():
        raise FileNotFoundError(f"no backbone file {path}")
    try:
        return path.open("rb")
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror}") from error


def _header(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The header of a file, read up to its end: an entry for each tensor, and the metadata."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= min(_MAX_HEADER, size - 8):
        raise _error(path, "is not a safetensors file: it has no header, or ends within it")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise _error(path, f"is not a safetensors file: its header is no JSON ({error})") from error
    whole = isinstance(header, dict)
    if not whole or not all(name == _METADATA or _is_tensor(entry) for name, entry in header.items()):
        raise _error(path, "is not a safetensors file: its header does not describe tensors")
    return header


def _is_tensor(entry: object) -> bool:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return False
    numbers = (entry["shape"], entry["data_offsets"])
    if not all(
        isinstance(value, list) and all(type(n) is int and n >= 0 for n in value) for value in numbers
    ):
        return False
    return isinstance(entry["dtype"], str) and len(entry["data_offsets"]) == 2


def _metadata(path: Path, header: dict[str, Any]) -> tuple[dict[str, str], str | None]:
    """The caller's metadata, checked, and the hash that the tensors should have (None: unchecked file)."""
    stored = header.get(_METADATA, {})
    if not _is_texts(stored):
        raise _error(path, "is not a safetensors file: its metadata are not texts")
    if _ENTRY not in stored:
        if any("tensors_sha256" in text for text in stored.values()):
            raise _error(path, f"is damaged: the entry {_ENTRY} of its metadata has another name")
        return stored, None
    try:
        facts = json.loads(stored[_ENTRY])
    except (ValueError, RecursionError) as error:
        raise _error(path, f"is damaged: its metadata are no JSON ({error})") from error
    whole = isinstance(facts, dict) and set(facts) == {"metadata", "metadata_sha256", "tensors_sha256"}
    if not (
        whole
        and len(stored) == 1
        and _is_texts(facts["metadata"])
        and facts["metadata_sha256"] == _metadata_sha256(facts["metadata"])
        and isinstance(facts["tensors_sha256"], str)
    ):
        raise _error(path, "is damaged: its metadata do not have the hash that was written with them")
    return facts["metadata"], facts["tensors_sha256"]


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _metadata_sha256(metadata: Mapping[str, str]) -> str:
    return sha256(json.dumps(dict(metadata), sort_keys=True).encode()).hexdigest()


def _tensors_sha256(header: Mapping[str, Any], data: memoryview) -> str:
    """Hash of name, type, shape and bytes of each tensor, in the order of the names."""
    digest = sha256()
    for name in sorted(header.keys() - {_METADATA}):
        entry = header[name]
        start, stop = entry["data_offsets"]
        digest.update(json.dumps([name, entry["dtype"], entry["shape"], stop - start]).encode())
        digest.update(data[start:stop])
    return digest.hexdigest()


def _error(path: Path, what: str) -> DataError:
    return DataError(f"{path} {what}\n  where: {path}\n  remedy: {_DAMAGED}")
