"""Where bags lie below a root, and whether one was closed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.readers.bag.names import distinct_names

METADATA = "metadata.yaml"
"""A ROS 2 bag is the folder with this file; it stands for the bag in an index, where paths are files."""
ENDINGS = (".bag", ".mcap", ".db3")
_DEPTH = 2
_LOOKED_AT = 5_000
_HEAD = "rosbag2_bagfile_information"


@dataclass(frozen=True)
class BagPath:
    """A bag.

    Attributes:
        file: what an index names: `metadata.yaml` of a folder, else the file.
        scene: name of its drive.
    """

    file: Path
    scene: str

    @property
    def opened(self) -> Path:
        """What is opened: the folder or the file."""
        return self.file.parent if self.file.name == METADATA else self.file


def find_bags(root: Path) -> list[BagPath]:
    """The bags at or below a root, two folders down at most, by path.

    Raises:
        DataError: there is none.
    """
    files = _bag_files(root)
    if not files:
        fail(
            "no bag: neither .bag, .mcap or .db3 files nor a folder with the metadata.yaml of a ROS 2 bag",
            root,
            "name the bag, or a folder that holds bags up to two folders down",
        )
    base = root if root.is_dir() else root.parent
    scenes = distinct_names({str(file): _scenes(file, base) for file in files})
    return [BagPath(file, scenes[str(file)]) for file in files]


def renamed(bags: Sequence[BagPath], root: Path) -> list[BagPath]:
    """Those whose drive has a longer name than its own, as another bag has that too."""
    base = root if root.is_dir() else root.parent
    return [bag for bag in bags if bag.scene != _scenes(bag.file, base)[0]]


def detect(root: Path) -> str | None:
    """Why a folder or file is taken for bags, None where it is none."""
    files = _bag_files(Path(root), _LOOKED_AT)
    if not files:
        return None
    kinds = sorted({"ROS 2 bag folder" if file.name == METADATA else f"*{file.suffix}" for file in files})
    return f"{len(files)} bag{'s' * (len(files) > 1)} ({', '.join(kinds)})"


def _bag_files(root: Path, most: int | None = None) -> list[Path]:
    """The bags at or below a root; of each folder the first `most` entries are looked at."""
    if root.is_file():
        return [root] if root.suffix in ENDINGS or _is_metadata(root) else []
    found: list[Path] = []
    level = [root]
    for _ in range(_DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            folders, bags = _entries(folder, most)
            whole = _is_metadata(folder / METADATA)
            found += [folder / METADATA] if whole else bags
            below += [] if whole else folders
        level = below
    return sorted(found)


def _entries(folder: Path, most: int | None) -> tuple[list[Path], list[Path]]:
    """Folders and bag files of a folder, told without a look at each other file."""
    folders, bags = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, most):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(Path(entry.path))
                elif entry.name.endswith(ENDINGS) and entry.is_file():
                    bags.append(Path(entry.path))
    except OSError:
        return [], []
    return folders, bags


def _is_metadata(path: Path) -> bool:
    if path.name != METADATA or not path.is_file():
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return _HEAD in file.read(4096)


def _scenes(file: Path, base: Path) -> list[str]:
    """Names of its drive: its path below the root, then with the ending, then joined otherwise.

    A lone folder is its own name.
    """
    path = file.parent if file.name == METADATA else file.with_suffix("")
    name = "__".join(path.relative_to(base).parts) or path.name
    kind = "folder" if file.name == METADATA else file.suffix[1:]
    return [name, f"{name}_{kind}", f"{'-'.join(path.relative_to(base).parts)}_{kind}"]


def check_closed(path: Path) -> None:
    """Refuse a database that was not closed: what was written last lies in another file.

    Raises:
        DataError: it was not.
    """
    folder, pattern = (path, "*.db3-wal") if path.is_dir() else (path.parent, f"{path.name}-wal")
    for log in folder.glob(pattern):
        if log.stat().st_size:
            fail(
                "the bag was not closed: its last messages are still in the write-ahead log",
                log,
                f"close it: sqlite3 {log.with_name(log.name[:-4])} 'PRAGMA wal_checkpoint(TRUNCATE);'",
            )
