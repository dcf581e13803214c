"""Looks at the sweeps of a data set while they pass from the reader to the index.

Each look sees whole scenes, one after the other, and keeps counts and first examples only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from pc3d.data.classes import ClassSet
from pc3d.data.records import Sweep
from pc3d.data.survey.annotations import Annotations
from pc3d.data.survey.cameras import Cameras
from pc3d.data.survey.classes import BoxCategories
from pc3d.data.survey.files import MissingFiles
from pc3d.data.survey.heading import Heading
from pc3d.data.survey.key_frames import KeyFrames
from pc3d.data.survey.labels import Unlabelled
from pc3d.data.survey.poses import NO_POSES, Poses
from pc3d.data.survey.samples import Samples
from pc3d.data.survey.times import Times
from pc3d.findings import Finding


class Look(Protocol):
    """One kind of thing to look at."""

    def look(self, sweeps: Sequence[Sweep]) -> None:
        """Look at a whole scene, ascending in time."""

    def findings(self) -> list[Finding]:
        """What was odd in all that was seen."""


class Survey:
    """Everything that is looked at in a data set.

    Args:
        metadata: of the reader.
        total: sweeps, about.
        skip_missing: leave scenes with missing files out, where else they end the survey.
        labels: label files are wanted.
        tables_only: files need not be there, and none is opened.

    Attributes:
        findings: what was odd, once all sweeps have passed.
    """

    def __init__(
        self,
        metadata: Mapping[str, Any],
        total: int,
        skip_missing: bool = False,
        labels: bool = True,
        tables_only: bool = False,
    ) -> None:
        self._root = Path(metadata["root"])
        self._skip_missing = skip_missing
        self._tables_only = tables_only
        self._files = MissingFiles()
        stated = not any(note.startswith(NO_POSES) for note in metadata.get("notes", ()))
        labelled = (
            metadata.get("has_labels", False)
            or (self._root / metadata.get("version", "") / "lidarseg.json").is_file()
        )
        self._key_frames = KeyFrames()
        classes = ClassSet.of(metadata)
        self._looks: list[Look] = [
            Times(),
            Poses(stated),
            Heading(),
            Cameras(),
            BoxCategories(classes),
            Annotations(classes, labels),
            self._key_frames,
            Unlabelled(labels and labelled, metadata.get("sparse_labels", False)),
            *([] if tables_only else [Samples(total, classes)]),
        ]
        self.findings: list[Finding] = []

    def watch(self, sweeps: Iterable[Sweep]) -> Iterator[Sweep]:
        """Pass sweeps on, scene after scene, those of scenes that are left out excepted.

        Raises:
            DataError: files are missing; no scene is whole; most files of a sensor cannot be read.
        """
        for _, scene in groupby(sweeps, key=lambda sweep: sweep.scene):
            whole = list(scene)
            if self._files.complete(whole) or self._tables_only or not self._skip_missing:
                for look in self._looks:
                    look.look(whole)
                yield from whole
            else:
                self._key_frames.leave_out(whole)
        if not self._tables_only and (not self._skip_missing or self._files.incomplete == self._files.scenes):
            self._files.refuse(self._root)
        self.findings = [
            *(self._files.tables_only() if self._tables_only else self._files.findings()),
            *(finding for look in self._looks for finding in look.findings()),
        ]
