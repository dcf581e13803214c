"""Label files beside those of an index that no sweep names."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from pc3d.data.records import Sweep
from pc3d.findings import Finding

_SHOWN = 3


class OrphanLabels:
    """Keeps a hash of each label file that is named, 8 bytes a file, and lists their folders at the end."""

    def __init__(self) -> None:
        self._named = array("q")
        self._folders: dict[str, str] = {}

    def look(self, sweeps: Sequence[Sweep]) -> None:
        """Look at the next sweeps; of files that hold many labels nothing is known."""
        for sweep in sweeps:
            path = sweep.lidarseg_path
            if path is not None and not sweep.lidarseg_key:
                self._named.append(hash(os.fspath(path)))
                self._folders.setdefault(os.fspath(path.parent), path.suffix)

    def findings(self) -> list[Finding]:
        """Files of the same folders and ending that were not named, though labels are files of their own."""
        named = array("q", sorted(self._named))
        shown: list[str] = []
        count = of = 0
        for folder, suffix in self._folders.items():
            for path in _files(folder, suffix):
                of += 1
                wanted = hash(path)
                at = bisect_left(named, wanted)
                if at == len(named) or named[at] != wanted:
                    count += 1
                    shown += [path] * (len(shown) < _SHOWN)
        if not count:
            return []
        text = f"{count} of {of} label files are of no sweep of the index, first: {', '.join(sorted(shown))}"
        remedy = "extract the scans that they are of, or remove them (--skip-missing leaves scenes out, too)"
        return [Finding("orphan labels", "warning", text, remedy)]


def _files(folder: str, suffix: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.path for e in entries if Path(e.name).suffix == suffix and e.is_file())
    except OSError:
        return []  # that it is missing is said of each file
