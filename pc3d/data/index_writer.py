"""Writes an index folder, streaming: sweeps go to Parquet in row groups, never all in memory.

    INDEX/metadata.json           facts of the data set, schema version, ranges of the splits, hashes
    INDEX/sweeps.parquet/part-*   a row per sweep, sorted by scene, then time
    INDEX/sections.npy            ends and hashes of the row groups and footers of the parts
    INDEX/key_rows.npy            rows of the key frames, ascending
    INDEX/split_rows.npy          the same rows, sorted by split, then row
    INDEX/scene_starts.npy        first row of each scene, and the number of rows at the end
    INDEX/tokens.npy              (hash, row) of each token, sorted by hash

The files beside the Parquet are memory-mapped, so an index opens in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data import index_parts
from pc3d.data.errors import fail
from pc3d.data.index_hashes import RowsHash, save_map, seal
from pc3d.data.index_schema import SCHEMA_VERSION, sweep_to_row
from pc3d.data.records import Sweep
from pc3d.storage.folders import new_folder
from pc3d.storage.whole import write_json

TOKEN_DTYPE = np.dtype([("hash", "<u8"), ("row", "<i8")])


def token_hash(token: str) -> int:
    """64-bit hash of a token, the same on every machine and in every process."""
    return int.from_bytes(blake2b(token.encode(), digest_size=8).digest(), "little")


def check_free(folder: Path) -> None:
    """Refuse to write an index over something else."""
    if folder.exists() and not (folder / "metadata.json").is_file():
        fail("the output folder exists and is not an index", folder, "remove it or name another --out")


def write_index(folder: str | Path, sweeps: Iterable[Sweep], metadata: dict[str, Any]) -> Path:
    """Write an index; it appears at `folder` complete and on the disk, or not at all.

    The same sweeps and metadata give the same bytes.

    Args:
        folder: where to; an index that is there is replaced.
        sweeps: the scenes one after the other, each ascending in time.
        metadata: facts of the data set; needs "dataset", "root" and "rebuild" (the command line that
            makes this index), usually has "classes" (`ClassSet.to_dict`), "frames", "notes".

    Returns:
        `folder`.

    Raises:
        DataError: no sweep; a scene in pieces, time going backwards, a token twice; `folder` exists
            and is no index.
    """
    folder = Path(folder)
    check_free(folder)
    missing = {"dataset", "root", "rebuild"} - metadata.keys()
    if missing:
        raise ValueError(f"index metadata lacks {sorted(missing)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(folder) as unfinished:
        _write(unfinished, sweeps, metadata)
    return folder


def _write(folder: Path, sweeps: Iterable[Sweep], metadata: dict[str, Any]) -> None:
    root = Path(metadata["root"]).resolve()
    facts, content = _Facts(), RowsHash()

    def rows() -> Iterator[dict[str, Any]]:
        for sweep in sweeps:
            facts.add(sweep)
            row = sweep_to_row(sweep, root)
            content.add(row)
            yield row

    sections = index_parts.write_parts(folder, rows())
    if not facts.hashes:
        fail("there is no sweep to index", root, "check the data set root and version")
    maps, ranges = facts.maps()
    facts_of_index = {
        **metadata,
        "root": str(root),
        "schema_version": SCHEMA_VERSION,
        "num_sweeps": len(facts.hashes),
        "rows_per_group": index_parts.ROWS_PER_GROUP,
        "groups_per_part": index_parts.GROUPS_PER_PART,
        "key_frames": ranges,
        "content": content.hexdigest,
        "maps": {
            name: save_map(folder / f"{name}.npy", array)
            for name, array in {**maps, "sections": sections}.items()
        },
    }
    write_json(folder / "metadata.json", seal(facts_of_index))


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

    def maps(self) -> tuple[dict[str, NDArray], dict[str, list[int]]]:
        """The arrays of the side files by name, and [start, stop) in `split_rows` by split."""
        tokens = np.empty(len(self.hashes), TOKEN_DTYPE)
        tokens["hash"], tokens["row"] = self.hashes, np.arange(len(self.hashes))
        tokens.sort(order="hash")
        twice = np.flatnonzero(tokens["hash"][1:] == tokens["hash"][:-1])
        if len(twice):
            rows = tokens["row"][twice[0] : twice[0] + 2].tolist()
            fail("two sweeps have the same token", f"rows {rows}", "let the reader give unique tokens")
        key_rows = np.array(self._key_rows, dtype=np.int64)
        names, split = np.unique(np.array(self._key_splits, dtype=str), return_inverse=True)
        maps = {
            "tokens": tokens,
            "key_rows": key_rows,
            "split_rows": key_rows[np.argsort(split, kind="stable")],
            "scene_starts": np.array([*self._scene_starts, len(self.hashes)], dtype=np.int64),
        }
        return maps, _ranges(names, np.bincount(split, minlength=len(names)))


def _ranges(names: NDArray[np.str_], counts: NDArray[np.int64]) -> dict[str, list[int]]:
    stops = np.cumsum(counts)
    return {
        str(name): [int(stop - count), int(stop)]
        for name, count, stop in zip(names, counts, stops, strict=True)
    }
