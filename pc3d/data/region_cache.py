"""Files of regions, keyed by sweep token and by the parameters that made them.

    FOLDER/clusters-3f9a0c12d4e5/params.json
    FOLDER/clusters-3f9a0c12d4e5/1d/9d9bf11f....npz

A changed parameter changes the folder, so it never meets a stale file.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.array_file import load_arrays, save_arrays
from pc3d.data.errors import DataError, fail
from pc3d.data.token_files import token_file
from pc3d.storage.whole import read_json, write_bytes

_KIND = re.compile(r"[a-z0-9_]+\Z")
_MAKERS = {"pseudo_labels": "pc3d pseudo-label CHECKPOINT INDEX --out {folder}"}


class RegionCache:
    """Regions of one kind, made with one set of parameters.

    A region file is an array (per-point regions: (P,) int16) or several by name (superpixels: one
    (H, W) integer id map per camera), compressed.

    Args:
        folder: parent of the caches of a data set.
        kind: what the regions are, e.g. `clusters`, `slic`.
        params: everything that changes the result; plain JSON values.
    """

    def __init__(self, folder: str | Path, kind: str, params: dict[str, Any]) -> None:
        if not _KIND.match(kind):
            raise ValueError(f"region kind {kind!r} is no plain lower-case name")
        self.kind = kind
        self.params = params
        self._text = json.dumps(params, sort_keys=True)
        digest = blake2b(self._text.encode(), digest_size=6).hexdigest()
        self.folder = Path(folder) / f"{kind}-{digest}"

    @classmethod
    def find(cls, folder: str | Path, kind: str) -> RegionCache:
        """The one cache of a kind under `folder`, whatever its parameters.

        Raises:
            DataError: there is none, or several.
        """
        found = sorted(Path(folder).glob(f"{kind}-*/params.json"))
        if len(found) != 1:
            what = f"{len(found)} caches of {kind}" if found else f"no cache of {kind}"
            fail(what, folder, "name a folder that holds one, as its command wrote it")
        try:
            cache = cls(folder, kind, read_json(found[0]))
            if cache.folder.name != found[0].parent.name:
                raise ValueError("they are not those that its folder was named after")
            return cache
        except (OSError, ValueError) as error:
            raise DataError(
                f"parameters of a cache are broken: {error}\n  where: {found[0]}\n  remedy: make it again"
            ) from error

    @property
    def maker(self) -> str:
        """Command that makes this kind."""
        default = f"pc3d regions INDEX --out {{folder}} --kinds {self.kind}"
        return _MAKERS.get(self.kind, default).format(folder=self.folder.parent)

    def path(self, token: str) -> Path:
        """File of a sweep; tokens are spread over 256 folders and may hold any character."""
        return token_file(self.folder, token)

    def has(self, token: str) -> bool:
        """Whether the regions of the sweep are there."""
        return self.path(token).is_file()

    def save(self, token: str, regions: NDArray | dict[str, NDArray]) -> Path:
        """Write the regions of a sweep: the file appears complete or not at all.

        It is not waited for until it is on the disk: there are thousands, and each can be made again.
        """
        arrays = regions if isinstance(regions, dict) else {"regions": regions}
        for name, array in arrays.items():
            if not np.issubdtype(np.asarray(array).dtype, np.integer):
                raise ValueError(f"region ids must be integers, {name} is {np.asarray(array).dtype}")
        self._save_params()
        target = self.path(token)
        target.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(target, arrays, compressed=True, durable=False)
        return target

    def load(self, token: str) -> NDArray:
        """Per-point regions of a sweep, (P,) as saved.

        Raises:
            DataError: they are not there, or broken.
        """
        arrays = self.load_all(token)
        if "regions" not in arrays:
            fail(f"no regions of points, but {', '.join(arrays)}", self.path(token), self._remedy)
        return arrays["regions"]

    def load_all(self, token: str) -> dict[str, NDArray]:
        """All arrays of a sweep by name: superpixels by camera.

        Raises:
            DataError: they are not there, or broken.
        """
        path = self.path(token)
        try:
            arrays = load_arrays(path)
            for name, array in arrays.items():
                if array.dtype.kind not in "biu" or array.ndim not in (1, 2):
                    raise ValueError(f"{name} is an array of {array.dtype} of shape {array.shape}, no ids")
            return arrays
        except FileNotFoundError:
            fail(
                f"no {self.kind} regions of sweep {token}",
                path,
                f"{self.maker} (with the parameters {self._text})",
            )
        except (OSError, ValueError) as error:
            raise DataError(
                f"region file of sweep {token} is broken: {error}\n  where: {path}\n  remedy: {self._remedy}"
            ) from error

    @property
    def _remedy(self) -> str:
        return f"remove it and run {self.maker} again"

    def _save_params(self) -> None:
        path = self.folder / "params.json"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, f"{self._text}\n".encode(), durable=False)
