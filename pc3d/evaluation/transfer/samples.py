"""The data sets of a transfer: indexed in the common classes, a few key frames of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pc3d.data.classes import ClassSet
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.index_classes import with_classes
from pc3d.data.readers import open_reader


@dataclass(frozen=True)
class Source:
    """Where a data set lies below the folder of all, and how it is read."""

    title: str
    reader: str
    folder: str
    options: dict[str, Any] = field(default_factory=dict)


SOURCES = {
    "semantic_kitti": Source("SemanticKITTI", "semantic_kitti", "semantic_kitti"),
    "pandaset": Source("PandaSet", "pandaset", "pandaset", {"sensor": "0"}),
    "pandaset_both": Source("PandaSet, both LiDARs", "pandaset", "pandaset", {"sensor": "both"}),
    "nuscenes": Source("nuScenes", "nuscenes", "nuscenes"),
    "argoverse2": Source("Argoverse 2", "argoverse2", "argoverse2"),
    "kitti_object": Source("KITTI object", "kitti_object", "kitti_object"),
}


@dataclass(frozen=True, eq=False)
class Frames:
    """Key frames of a data set.

    Attributes:
        name: of the data set, a key of `SOURCES`, or what a part of it is called. title: for people.
        tokens: of the key frames.
    """

    name: str
    title: str
    index: SweepIndex
    tokens: tuple[str, ...]

    def part(self, title: str, tokens: Sequence[str]) -> Frames:
        """Some of the frames."""
        return Frames(self.name, title, self.index, tuple(tokens))

    @property
    def classes(self) -> ClassSet:
        """The common classes, with what in the files of this data set means which."""
        classes = ClassSet.of(self.index.metadata)
        assert classes is not None, "indexed with classes"
        return classes


def open_frames(name: str, real: Path, work: Path, most: int) -> Frames:
    """Index the first key frames of a data set that have labels or boxes, in the common classes.

    Nothing behind them is read, so that a whole data set costs no more than a sample of it.

    Args:
        real: folder that holds the data sets, each in a folder of its name.
        work: folder that the index is written to.
        most: key frames at most.

    Raises:
        DataError: it cannot be read, or has no annotated key frame.
    """
    source = SOURCES[name]
    root = real / source.folder
    reader = open_reader(source.reader, root, **source.options)
    annotated = (
        replace(sweep, cameras=())
        for sweep in reader.sweeps()
        if sweep.is_key_frame and (sweep.lidarseg_path is not None or sweep.boxes is not None)
    )
    sweeps = list(islice(annotated, most))
    if not sweeps:
        fail(f"no key frame of {source.title} has labels or boxes", root, "add the files of its annotations")
    metadata = with_classes(reader.metadata, "common")
    write_index(work / name, sweeps, {**metadata, "rebuild": "the same command"})
    return Frames(name, source.title, SweepIndex.open(work / name), tuple(sweep.token for sweep in sweeps))
