"""The local statistics of loaded frames on disk, one file for each sweep.

What is read is what would be computed: the loader rounds statistics to float16, cached or not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.array_file import load_arrays, save_arrays
from pc3d.data.errors import DataError, fail
from pc3d.data.local_statistics import NAMES, NEIGHBOURS, PLANE_NEIGHBOURS
from pc3d.data.token_files import token_file
from pc3d.storage.whole import write_bytes

Float16 = NDArray[np.float16]
_MADE_BY = {"version": 1, "names": NAMES, "neighbours": NEIGHBOURS, "plane_neighbours": PLANE_NEIGHBOURS}
_REMEDY = "remove it: it is made anew"


@dataclass(frozen=True)
class StatisticsCache:
    """The statistics of the frames of one index, made of the same number of sweeps.

    Files are `statistics-HASH/12/TOKEN-HASH.npz`, uncompressed: 26 bytes a point. A file is whole or not
    there, so that any number of processes may fill a folder.
    """

    folder: Path

    @classmethod
    def create(cls, folder: str | Path, fingerprint: str, sweeps: int = 1) -> StatisticsCache:
        """The cache below `folder`, made if it is not there.

        Args:
            fingerprint: of the index, of whose rows and files the points are. sweeps: stacked in a frame.
        """
        text = json.dumps({**_MADE_BY, "index": fingerprint, "sweeps": sweeps}, sort_keys=True)
        own = Path(folder) / f"statistics-{blake2b(text.encode(), digest_size=6).hexdigest()}"
        if not (own / "params.json").is_file():
            own.mkdir(parents=True, exist_ok=True)
            write_bytes(own / "params.json", f"{text}\n".encode(), durable=False)
        return cls(own)

    def path(self, token: str) -> Path:
        """File of a sweep; tokens are spread over 256 folders and may hold any character."""
        return token_file(self.folder, token)

    def load(self, token: str, num_points: int) -> Float16 | None:
        """(num_points, 13) statistics of a frame, None where they are not there yet.

        Raises:
            DataError: the file is broken, or of another number of points.
        """
        path = self.path(token)
        try:
            found = load_arrays(path)["statistics"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"statistics of sweep {token} are broken: {error}\n  where: {path}\n  remedy: {_REMEDY}"
            ) from error
        if found.dtype != np.float16 or found.shape != (num_points, len(NAMES)):
            fail(
                f"statistics of sweep {token} are {found.dtype} of shape {found.shape}, expected float16 of "
                f"{(num_points, len(NAMES))}",
                path,
                _REMEDY,
            )
        return found

    def save(self, token: str, statistics: Float16) -> None:
        """Write the (P, 13) statistics of a frame; it is not waited for until they are on the disk."""
        path = self.path(token)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(path, {"statistics": statistics}, durable=False)
