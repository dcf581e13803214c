"""Readers of data set formats, by name: one file each, imported when asked for.

To add one, write a class with `metadata`, `findings`, `__len__` (about how many sweeps) and `sweeps()` (scene
after scene, ascending in time), and give it a line in `READERS`. One that stays outside of pc3d is named
`module:Class`. A reader that writes files may have `select(selection)`, which says what of them is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

from pc3d.data.errors import fail
from pc3d.data.plugins import is_plugin, resolve
from pc3d.data.records import Sweep
from pc3d.findings import Finding


class Reader(Protocol):
    """What every reader gives.

    Attributes:
        metadata: facts of the data set for `write_index`, without "rebuild".
        findings: what it found odd when it was opened, but can go on with.
    """

    metadata: dict[str, Any]
    findings: list[Finding]

    def __len__(self) -> int:
        """Number of sweeps, for a progress bar."""

    def sweeps(self) -> Iterator[Sweep]:
        """The scenes one after the other, each ascending in time; paths absolute."""


READERS: dict[str, str] = {
    "folder": "pc3d.data.readers.folder.reader:FolderReader",
    "nuscenes": "pc3d.data.readers.nuscenes:NuScenesReader",
    "kitti_raw": "pc3d.data.readers.kitti_raw:KittiRawReader",
    "kitti_object": "pc3d.data.readers.kitti_object:KittiObjectReader",
    "semantic_kitti": "pc3d.data.readers.semantic_kitti:SemanticKittiReader",
    "kitti_360": "pc3d.data.readers.kitti_360:Kitti360Reader",
    "once": "pc3d.data.readers.once:OnceReader",
    "lyft": "pc3d.data.readers.lyft:LyftReader",
    "argoverse2": "pc3d.data.readers.argoverse2:Argoverse2Reader",
    "bag": "pc3d.data.readers.bag:BagReader",
    "pandaset": "pc3d.data.readers.pandaset:PandaSetReader",
    "waymo": "pc3d.data.readers.waymo:WaymoReader",
}


def open_reader(name: str, root: str | Path, **options: Any) -> Reader:
    """Open the reader `name` on a data set root; `options` are its constructor's.

    Raises:
        DataError: no such reader, or what the reader finds wrong.
    """
    if name not in READERS and not is_plugin(name):
        fail(f"unknown data set format {name!r}", root, f"use one of {sorted(READERS)}, or module:Class")
    reader = resolve(READERS.get(name, name))
    if name not in READERS:
        _check_reader(name, reader, options)
    return reader(Path(root).resolve(), **options)


def _check_reader(name: str, reader: Any, options: dict[str, Any]) -> None:
    """Refuse a class of the user's own that is no reader."""
    lacking = [what for what in ("__init__", "__len__", "sweeps") if not hasattr(reader, what)]
    try:
        signature(reader).bind(Path(), **options)
    except TypeError as error:
        lacking.append(f"an __init__ that takes the root ({error})")
    if lacking:
        fail(f"{name} is no reader: it has no {', '.join(lacking)}", name, "see docs/data.md, Add a reader")
