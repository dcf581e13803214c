"""Writes an index folder, streaming: sweeps go to Parquet in row groups, never all in memory.

    INDEX/metadata.json           facts of the data set, schema version, key-frame ranges of the splits
    INDEX/sweeps.parquet/part-*   a row per sweep, sorted by scene, then time
    INDEX/key_rows.npy            rows of the key frames, ascending
    INDEX/split_rows.npy          the same rows, sorted by split, then row
    INDEX/scene_starts.npy        first row of each scene, and the number of rows at the end
    INDEX/tokens.npy              (hash, row) of each token, sorted by hash

The files beside the Parquet are memory-mapped, so an index opens in constant memory.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.index_schema import SCHEMA, SCHEMA_VERSION, sweep_to_row
from pc3d.data.records import Sweep

ROWS_PER_GROUP = 64
"""Rows decoded for one access: small, because a shuffled loader needs one row of a group."""
GROUPS_PER_PART = 64
"""Bounds the footer of a part file, which is read whole (about 3 ms for 64 groups)."""

TOKEN_DTYPE = np.dtype([("hash", "<u8"), ("row", "<i8")])


def token_hash(token: str) -> int:
    """64-bit hash of a token, the same on every machine and in every process."""
    return int.from_bytes(blake2b(token.encode(), digest_size=8).digest(), "little")


def write_index(folder: str | Path, sweeps: Iterable[Sweep], metadata: dict[str, Any]) -> Path:
    """Write an index; it appears at `folder` complete or not at all.

    Args:
        folder: where to; an index that is there is replaced.
        sweeps: the scenes one after the other, each ascending in time.
        metadata: facts of the data set; needs "dataset", "root" and "rebuild" (the command line that
            makes this index), usually has "class_names", "label_map", "frames", "notes".

    Returns:
        `folder`.

    Raises:
        DataError: no sweep; a scene in pieces, time going backwards, a token twice; `folder` exists
            and is no index.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / "metadata.json").is_file():
        fail("the output folder exists and is not an index", folder, "remove it or name another --out")
    missing = {"dataset", "root", "rebuild"} - metadata.keys()
    if missing:
        raise ValueError(f"index metadata lacks {sorted(missing)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(unfinished, sweeps, metadata)
        unfinished.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write(folder: Path, sweeps: Iterable[Sweep], metadata: dict[str, Any]) -> None:
    root = Path(metadata["root"]).resolve()
    parts = _PartWriter(folder / "sweeps.parquet")
    facts = _Facts()
    try:
        for sweep in sweeps:
            facts.add(sweep)
            parts.add(sweep_to_row(sweep, root))
    finally:
        parts.close()
    if not facts.hashes:
        fail("there is no sweep to index", root, "check the data set root and version")
    ranges = facts.save(folder)
    facts_of_index = {
        **metadata,
        "root": str(root),
        "schema_version": SCHEMA_VERSION,
        "num_sweeps": len(facts.hashes),
        "rows_per_group": ROWS_PER_GROUP,
        "groups_per_part": GROUPS_PER_PART,
        "key_frames": ranges,
    }
    (folder / "metadata.json").write_text(json.dumps(facts_of_index, indent=1) + "\n")


class _PartWriter:
    """Buffers rows into row groups, and row groups into part files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._rows: list[dict[str, Any]] = []
        self._groups = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._groups % GROUPS_PER_PART == 0:
            self._close_part()
            path = self._folder / f"part-{self._groups // GROUPS_PER_PART:05d}.parquet"
            self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        assert self._writer is not None
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._groups += 1
        self._rows = []

    def _close_part(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._close_part()


class _Facts:
    """What the side files hold, gathered while the rows pass by."""

    def __init__(self) -> None:
        self.hashes: list[int] = []
        self._key_rows: list[int] = []
        self._key_splits: list[str] = []
        self._scene_starts: list[int] = []
        self._seen_scenes: set[str] = set()
        self._last: tuple[str, int] = ("", 0)

    def add(self, sweep: Sweep) -> None:
        row = len(self.hashes)
        scene, timestamp = self._last
        if not row or sweep.scene != scene:
            if sweep.scene in self._seen_scenes:
                fail(
                    f"scene {sweep.scene} comes in pieces",
                    f"sweep {sweep.token}",
                    "let the reader give all of a scene before the next",
                )
            self._seen_scenes.add(sweep.scene)
            self._scene_starts.append(row)
        elif sweep.timestamp < timestamp:
            fail(
                f"time goes backwards in scene {sweep.scene}: {timestamp} us, then {sweep.timestamp} us",
                f"sweep {sweep.token}",
                "let the reader sort the sweeps of a scene by time",
            )
        self._last = (sweep.scene, sweep.timestamp)
        self.hashes.append(token_hash(sweep.token))
        if sweep.is_key_frame:
            self._key_rows.append(row)
            self._key_splits.append(sweep.split)

    def save(self, folder: Path) -> dict[str, list[int]]:
        """Write the side files; give [start, stop) in `split_rows.npy` by split."""
        tokens = np.empty(len(self.hashes), TOKEN_DTYPE)
        tokens["hash"], tokens["row"] = self.hashes, np.arange(len(self.hashes))
        tokens.sort(order="hash")
        twice = np.flatnonzero(tokens["hash"][1:] == tokens["hash"][:-1])
        if len(twice):
            rows = tokens["row"][twice[0] : twice[0] + 2].tolist()
            fail("two sweeps have the same token", f"rows {rows}", "let the reader give unique tokens")
        key_rows = np.array(self._key_rows, dtype=np.int64)
        names, split = np.unique(np.array(self._key_splits, dtype=str), return_inverse=True)
        np.save(folder / "tokens.npy", tokens)
        np.save(folder / "key_rows.npy", key_rows)
        np.save(folder / "split_rows.npy", key_rows[np.argsort(split, kind="stable")])
        starts = np.array([*self._scene_starts, len(self.hashes)], dtype=np.int64)
        np.save(folder / "scene_starts.npy", starts)
        return _ranges(names, np.bincount(split, minlength=len(names)))


def _ranges(names: NDArray[np.str_], counts: NDArray[np.int64]) -> dict[str, list[int]]:
    stops = np.cumsum(counts)
    return {
        str(name): [int(stop - count), int(stop)]
        for name, count, stop in zip(names, counts, stops, strict=True)
    }
