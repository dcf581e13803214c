"""The index of a data set: a row per sweep, opened in constant memory whatever its length."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pc3d.data.errors import DataError, did_you_mean, fail, some
from pc3d.data.index_hashes import check_seal, fingerprint, open_map
from pc3d.data.index_parts import PartReader
from pc3d.data.index_schema import SCHEMA_VERSION, row_to_sweep
from pc3d.data.index_writer import token_hash, write_index
from pc3d.data.records import Sweep
from pc3d.storage.whole import read_json

__all__ = ["SweepIndex", "write_index"]

_MOST = 1 << 40
"""No data set has as many sweeps."""
_OTHER_LIST = "check that the list belongs to this data set"


class SweepIndex:
    """Read access to an index folder; open it with `SweepIndex.open`.

    It pickles as its path and opens its files when first read, so every loader worker has its own. What is
    read is checked against the hashes of the index: maps once, rows at each access that decodes them.

    Attributes:
        folder: of the index.
        root: data set root that the paths of the sweeps start from.
        metadata: facts of the data set ("dataset", "classes", "frames", ...).
    """

    def __init__(self, folder: Path, root: Path, metadata: dict[str, Any], cached_groups: int) -> None:
        self.folder = folder
        self.root = root
        self.metadata = metadata
        self._cached_groups = cached_groups
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()
        self._parts: PartReader | None = None
        self._maps: dict[str, NDArray] = {}

    @classmethod
    def open(cls, folder: str | Path, root: str | Path | None = None, cached_groups: int = 64) -> SweepIndex:
        """Open an index.

        Args:
            folder: what `write_index` wrote.
            root: data set root, where it is not the one that the index was made with.
            cached_groups: decoded row groups kept in memory.

        Raises:
            DataError: no index there, or a damaged one; another schema version; the data set root does not
                exist.
        """
        folder = Path(folder).resolve()
        metadata = _read_metadata(folder)
        if metadata.get("schema_version") != SCHEMA_VERSION:
            fail(
                f"the index has schema version {metadata.get('schema_version')}, "
                f"this pc3d reads {SCHEMA_VERSION}",
                folder,
                f"build it again: {metadata.get('rebuild', 'with the data_prep script that made it')}",
            )
        try:
            check_seal(metadata)
        except ValueError as error:
            fail(f"index metadata is broken: {error}", folder, "build it again; for another root use `root=`")
        _check_facts(folder, metadata)
        data_root = Path(root).resolve() if root is not None else Path(metadata["root"])
        if not data_root.is_dir():
            where = f"{data_root} (of the index {folder})"
            fail("the data set root does not exist", where, "say where the data set is now with `root=`")
        return cls(folder, data_root, metadata, cached_groups)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).open, (self.folder, self.root, self._cached_groups)

    def __len__(self) -> int:
        return self.metadata["num_sweeps"]

    def __getitem__(self, row: int) -> Sweep:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of an index of {len(self)} sweeps")
        group, offset = divmod(int(row), self.metadata["rows_per_group"])
        table = self._group(group)
        try:
            return row_to_sweep(table.slice(offset, 1).to_pylist()[0], self.root)
        except (LookupError, TypeError, ValueError) as error:  # of an index without hashes
            raise self._broken(f"row {row}", error) from error

    @property
    def fingerprint(self) -> str:
        """Hash of what the index says of the data: the same wherever the index and the data set lie."""
        return fingerprint(self.folder, self.metadata)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have key frames."""
        return tuple(self.metadata["key_frames"])

    def key_rows(self, split: str | None = None) -> NDArray[np.int64]:
        """Rows of the key frames of a split (all with None), ascending, memory-mapped.

        Raises:
            DataError: the index has no such split.
        """
        if split is None:
            return self._map("key_rows")
        ranges = self.metadata["key_frames"]
        if split not in ranges:
            fail(
                f"no key frame is in split {split!r}{did_you_mean(split, ranges)}",
                self.folder,
                f"use one of {sorted(ranges)}",
            )
        start, stop = ranges[split]
        return self._map("split_rows")[start:stop]

    def scene_rows(self, row: int) -> range:
        """All rows of the scene of `row`."""
        starts = self._map("scene_starts")
        scene = int(np.searchsorted(starts, row, side="right")) - 1
        return range(int(starts[scene]), int(starts[scene + 1]))

    def neighbour(self, row: int, key_frames: int) -> int | None:
        """Row of the key frame `key_frames` after (before, if negative) key frame `row`, in its scene.

        From a plain sweep, 0 and below count from the last key frame before it, above 0 from there too.

        Returns:
            None beyond the ends of the scene.
        """
        keys = self._map("key_rows")
        target = int(np.searchsorted(keys, row, side="right")) - 1 + key_frames
        if not 0 <= target < len(keys):
            return None
        found = int(keys[target])
        return found if found in self.scene_rows(row) else None

    def previous_sweeps(self, row: int, n: int) -> list[int]:
        """Rows of up to `n` sweeps (key frames or not) before `row` in its scene, the nearest first."""
        first = self.scene_rows(row).start
        return list(range(row - 1, max(first, row - n) - 1, -1))

    def row_of(self, token: str) -> int:
        """Row of a sweep token.

        Raises:
            DataError: no sweep has it.
        """
        row = self._find(token)
        if row is None:
            fail(f"no sweep has the token {token!r}", self.folder, _OTHER_LIST)
        return row

    def rows_of(self, tokens: Iterable[str]) -> NDArray[np.int64]:
        """(N,) rows of sweep tokens, in their order.

        Raises:
            DataError: some are of no sweep.
        """
        tokens = list(tokens)
        found = {token: self._find(token) for token in tokens}
        unknown = [token for token, row in found.items() if row is None]
        if unknown:
            fail(f"no sweep has {some(unknown, len(found))}", self.folder, _OTHER_LIST)
        return np.array([found[token] for token in tokens], dtype=np.int64)

    def _find(self, token: str) -> int | None:
        tokens = self._map("tokens")
        wanted = np.uint64(token_hash(token))
        at = int(np.searchsorted(tokens["hash"], wanted))
        if at < len(tokens) and tokens["hash"][at] == wanted:
            row = int(tokens["row"][at])
            if 0 <= row < len(self) and self[row].token == token:
                return row
        return None

    def _map(self, name: str) -> NDArray:
        if name not in self._maps:
            try:
                self._maps[name] = open_map(self.folder, name, self.metadata)
            except (OSError, ValueError, EOFError) as error:
                raise self._broken(f"{name}.npy", error) from error
        return self._maps[name]

    def _group(self, group: int) -> pa.Table:
        if group in self._groups:
            self._groups.move_to_end(group)
            return self._groups[group]
        if self._parts is None:
            self._parts = self._open_parts()
        try:
            table = self._parts.group(group)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._broken(f"part {group // self.metadata['groups_per_part']}", error) from error
        self._groups[group] = table
        if len(self._groups) > self._cached_groups:
            self._groups.popitem(last=False)
        return table

    def _open_parts(self) -> PartReader:
        groups = -(-len(self) // self.metadata["rows_per_group"])
        sections = self._map("sections") if "maps" in self.metadata else None
        return PartReader(self.folder, groups, self.metadata["groups_per_part"], sections)

    def _broken(self, name: str, error: Exception) -> DataError:
        rebuild = self.metadata["rebuild"]
        return DataError(f"the index is broken: {name}: {error}\n  where: {self.folder}\n  remedy: {rebuild}")


def _read_metadata(folder: Path) -> dict[str, Any]:
    try:
        metadata = read_json(folder / "metadata.json")
    except OSError:
        fail("there is no index", folder, "make one: pc3d index ROOT --out INDEX")
    except ValueError as error:
        raise DataError(
            f"index metadata is broken: {error}\n  where: {folder}\n  remedy: build it again"
        ) from error
    if not isinstance(metadata, dict):
        fail("index metadata is broken: no JSON object", folder, "build it again")
    return metadata


def _check_facts(folder: Path, metadata: dict[str, Any]) -> None:
    """Refuse metadata without hashes of whose facts one is missing or no such fact."""
    facts: dict[str, type] = {
        **dict.fromkeys(("num_sweeps", "rows_per_group", "groups_per_part"), int),
        **{"root": str, "rebuild": str, "key_frames": dict},
    }
    for name, kind in facts.items():
        value = metadata.get(name)
        least = name != "num_sweeps"
        if type(value) is not kind or (isinstance(value, int) and not least <= value < _MOST):
            fail(f"index metadata is broken: {name!r} is {value!r:.80}", folder, "build it again")
    for split, rows in metadata["key_frames"].items():
        if not (isinstance(rows, list) and len(rows) == 2 and all(type(row) is int for row in rows)):
            fail(
                f"index metadata is broken: the rows of split {split!r} are {rows!r:.80}",
                folder,
                "build it again",
            )
