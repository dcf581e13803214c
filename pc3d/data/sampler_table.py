"""A file that says which key frames are alike, and of which label each is: what samplers read."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import fail
from pc3d.storage.whole import new_file

Ints = NDArray[np.int64]
_REMEDY = "write it again: pc3d neighbours"


@dataclass(frozen=True, eq=False)
class SamplerTable:
    """N key frames of some data sets.

    Attributes:
        fingerprints: of the indexes, see `SweepIndex.fingerprint`.
        index: (N,) which of them. rows: (N,) the rows there.
        neighbours: (N, R) the frames that are most alike to each, the most alike first, -1 for none.
        labels: (N,) of each frame, -1 for none.
    """

    fingerprints: tuple[str, ...]
    index: Ints
    rows: Ints
    neighbours: Ints
    labels: Ints

    def __post_init__(self) -> None:
        count = len(self.rows)
        if not (self.index.shape == self.labels.shape == (count,) and self.neighbours.shape[:1] == (count,)):
            raise ValueError("index, rows, labels and neighbours must be of the same frames")
        if self.neighbours.ndim != 2 or not ((self.neighbours >= -1) & (self.neighbours < count)).all():
            raise ValueError(f"neighbours must be (N, R) numbers of the {count} frames, or -1")
        if not ((self.index >= 0) & (self.index < len(self.fingerprints))).all():
            raise ValueError(f"index must name one of {len(self.fingerprints)} fingerprints")

    def save(self, path: Path) -> None:
        """Write it, all or nothing."""
        with new_file(Path(path)) as file:
            np.savez_compressed(
                file,  # type: ignore[arg-type]
                fingerprints=np.array(self.fingerprints),
                index=self.index,
                rows=self.rows,
                neighbours=self.neighbours.astype(np.int32),
                labels=self.labels,
            )

    @classmethod
    def open(cls, path: str | Path) -> SamplerTable:
        """Read a table.

        Raises:
            DataError: there is none, or it is broken.
        """
        try:
            with np.load(Path(path), allow_pickle=False) as file:
                names = ("index", "rows", "neighbours", "labels")
                columns = [np.asarray(file[name], dtype=np.int64) for name in names]
                return cls(tuple(map(str, file["fingerprints"].tolist())), *columns)
        except FileNotFoundError:
            fail("there is no table for the sampler", path, "make one: pc3d neighbours")
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
            fail(f"the table for the sampler is broken: {error}", path, _REMEDY)

    def frames_of(self, parts: Sequence[FrameDataset], path: str | Path = "") -> Ints:
        """(L,) frame of the table at each position of data sets that are read one after the other.

        Raises:
            DataError: the table lacks a frame.
        """
        found = []
        for part in parts:
            number = self.fingerprints.index(part.index.fingerprint) if self._knows(part) else -1
            own = np.flatnonzero(self.index == number)
            own = own[np.argsort(self.rows[own], kind="stable")]
            place = np.searchsorted(self.rows[own], part.rows)
            known = place < len(own)
            known[known] = self.rows[own[place[known]]] == part.rows[known]
            if not known.all():
                lacks = f"lacks {np.count_nonzero(~known)} of {len(known)} frames of {part.index.folder}"
                fail(f"the table for the sampler {lacks}", path, _REMEDY)
            found.append(own[place])
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def _knows(self, part: FrameDataset) -> bool:
        return part.index.fingerprint in self.fingerprints


def positions_of(frames: Ints, neighbours: Sequence[Ints], reach: int) -> list[Ints]:
    """Of each position of the data, at most `reach` positions of its frame's neighbours, in their order.

    Args:
        frames: (L,) frame at each position; one that comes repeatedly is no neighbour of itself.
        neighbours: of each frame the frames near it, or -1.
    """
    order = np.argsort(frames, kind="stable")
    starts = np.searchsorted(frames[order], np.arange(len(neighbours) + 1))
    lists = []
    for frame, near in enumerate(neighbours):
        parts = [order[starts[n] : starts[n + 1]] for n in near.tolist() if n >= 0 and n != frame]
        lists.append(np.concatenate([order[:0], *parts])[:reach])
    return [lists[frame] for frame in frames.tolist()]
