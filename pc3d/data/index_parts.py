"""The rows of an index: Parquet parts in row groups, with the hash of each section of their files.

A part is read one row group at a time, so its bytes are hashed by section: one for each row group (the first
has the file's mark before it), and one for the rest, which is the footer. `sections.npy` has the end and the
SHA-256 of all sections in order. A section is checked when it is read, never the file: access stays cheap.
The pages carry checksums of their own, for other readers; those leave out the pages' headers and the footer.
"""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pc3d.data.index_schema import SCHEMA
from pc3d.storage import disk
from pc3d.storage.whole import HashingFile, new_file

ROWS_PER_GROUP = 64
"""Rows decoded for one access: small, because a shuffled loader needs one row of a group."""
GROUPS_PER_PART = 64
"""Bounds the footer of a part file, which is read whole (about 3 ms for 64 groups)."""

SECTION_DTYPE = np.dtype([("stop", "<u8"), ("sha256", "u1", 32)])
_OPEN_PARTS = 32


def part_path(folder: Path, part: int) -> Path:
    """File of a part of the index `folder`."""
    return folder / "sweeps.parquet" / f"part-{part:05d}.parquet"


class _SectionSink(io.RawIOBase):
    """What the Parquet writer writes to: passes it on, and hashes it from cut to cut."""

    def __init__(self, file: HashingFile) -> None:
        super().__init__()
        self._file = file
        self._hash = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._hash.update(view)
        return self._file.write(view)

    def cut(self) -> tuple[int, list[int]]:
        """End the section: its end in the file, and its hash."""
        digest, self._hash = self._hash.digest(), hashlib.sha256()
        return self.tell(), list(digest)


def write_parts(folder: Path, rows: Iterable[dict[str, Any]]) -> NDArray:
    """Write the rows, streaming, below the index `folder`.

    Returns:
        [sections] of `SECTION_DTYPE`.
    """
    disk.make_folder(part_path(folder, 0).parent)
    rows, sections = iter(rows), []
    groups = iter(lambda: list(islice(rows, ROWS_PER_GROUP)), [])
    for part, first in enumerate(groups):
        with new_file(part_path(folder, part)) as file:
            sections += _write_part(file, chain([first], islice(groups, GROUPS_PER_PART - 1)))
    return np.array(sections, dtype=SECTION_DTYPE)


def _write_part(file: HashingFile, groups: Iterator[list[dict[str, Any]]]) -> list[tuple[int, list[int]]]:
    sink, sections = _SectionSink(file), []
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for group in groups:
            writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
            sections.append(sink.cut())
    return [*sections, sink.cut()]


class PartReader:
    """Row groups of an index, each checked when it is read.

    Args:
        folder: of the index.
        num_groups: row groups in all parts. groups_per_part: row groups of a full part.
        sections: [sections] of `SECTION_DTYPE`; None for an index of earlier versions, which is not checked.
    """

    def __init__(self, folder: Path, num_groups: int, groups_per_part: int, sections: NDArray | None) -> None:
        self._folder, self._num_groups, self._groups_per_part = folder, num_groups, groups_per_part
        self._sections = sections
        self._parts: OrderedDict[int, tuple[pa.MemoryMappedFile, pq.ParquetFile]] = OrderedDict()

    def group(self, number: int) -> pa.Table:
        """The rows of a row group.

        Raises:
            ValueError, OSError: the part is missing or damaged (Arrow's own errors are of these types too).
        """
        part, inside = divmod(number, self._groups_per_part)
        source, file = self._open(part)
        self._check(source, part, inside)
        # Arrow's thread pool does not survive a fork, and loader workers are forked.
        return file.read_row_group(inside, use_threads=False)

    def _open(self, part: int) -> tuple[pa.MemoryMappedFile, pq.ParquetFile]:
        if part not in self._parts:
            source = pa.memory_map(str(part_path(self._folder, part)))
            self._check(source, part, self._groups_of(part))
            self._parts[part] = source, pq.ParquetFile(source, page_checksum_verification=True)
            if len(self._parts) > _OPEN_PARTS:
                self._parts.popitem(last=False)
        self._parts.move_to_end(part)
        return self._parts[part]

    def _groups_of(self, part: int) -> int:
        return min(self._groups_per_part, self._num_groups - part * self._groups_per_part)

    def _check(self, source: pa.MemoryMappedFile, part: int, inside: int) -> None:
        """Compare section `inside` of a part, the footer after the row groups, with its hash."""
        if self._sections is None:
            return
        first = part * (self._groups_per_part + 1)
        start = int(self._sections["stop"][first + inside - 1]) if inside else 0
        stop, footer = int(self._sections["stop"][first + inside]), inside == self._groups_of(part)
        where = "the footer" if footer else f"row group {inside}"
        if source.size() < stop or (footer and source.size() != stop):
            raise ValueError(f"the file has {source.size()} bytes, but {where} ends at {stop}")
        digest = hashlib.sha256(source.read_at(stop - start, start)).digest()
        if digest != self._sections["sha256"][first + inside].tobytes():
            raise ValueError(f"{where} does not have the hash that was written with it")
