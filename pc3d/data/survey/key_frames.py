"""Splits, key frames and boxes: what a run could not train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from pc3d.data.records import Boxes, Sweep
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding

FAR = 300.0
"""Metres from the LiDAR; nuScenes annotates what its radars see, up to 250 m."""


class KeyFrames:
    """Looks at the splits and boxes of one scene after the other.

    Args:
        lists: scene names by split, as a data set lists its own.
    """

    def __init__(self, lists: Mapping[str, Sequence[str]]) -> None:
        self._split_of = {scene: split for split, scenes in lists.items() for scene in scenes}
        self._listed = Tally(of=len(self._split_of))
        self._splits = set(lists)
        self._sweeps: Counter[str] = Counter()
        self._frames: Counter[str] = Counter()
        self._annotated = self._with_points = 0
        self._far = Tally()

    def look(self, sweeps: Sequence[Sweep]) -> None:
        self._split_of.pop(sweeps[0].scene, None)
        for sweep in sweeps:
            self._sweeps[sweep.split] += 1
            self._frames[sweep.split] += sweep.is_key_frame
            if sweep.boxes is not None:
                self._look_at_boxes(sweep.boxes, sweep.token)

    def _look_at_boxes(self, boxes: Boxes, token: str) -> None:
        self._annotated += 1
        self._with_points += int((boxes.num_lidar_pts != 0).sum())
        self._far.of += len(boxes)
        far = np.flatnonzero(~(np.abs(boxes.centers) <= FAR).all(axis=1))
        if len(far):
            place = ", ".join(f"{value:.4g}" for value in boxes.centers[far[0]])
            self._far.see(f"{boxes.names[far[0]]} at ({place}) of sweep {token}", len(far))

    def findings(self) -> list[Finding]:
        found = self._of_splits()
        found += self._far.finding(
            "far boxes",
            "warning",
            f"boxes are more than {FAR:g} m from the LiDAR",
            "boxes are in the world frame of the tables, in metres",
        )
        if self._annotated and not self._far.of:
            text = f"there are annotations, and not one in {self._annotated} key frames"
            found.append(Finding("boxes", "warning", text, "compare sample tokens of boxes and key frames"))
        elif self._far.of and not self._with_points:
            text = f"all {self._far.of} boxes are said to hold no point: detectors leave them all out"
            found.append(
                Finding("points in boxes", "problem", text, "count num_lidar_pts, or write -1 for unknown")
            )
        return found

    def _of_splits(self) -> list[Finding]:
        found = [
            Finding(
                f"split {split}",
                "warning",
                f"it has {self._sweeps[split]} sweeps and no key frame",
                "key frames (is_key_frame) are what a run trains on; compare its list of scenes",
            )
            for split in sorted(self._sweeps.keys() | self._splits)
            if not self._frames[split]
        ]
        for scene, split in self._split_of.items():
            self._listed.see(f"{scene!r} of split {split}")
        return found + self._listed.finding(
            "lists of splits", "warning", "scenes of splits.json are not indexed", "correct their names there"
        )
