"""Splits, key frames and boxes: what a run could not train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pc3d.data.records import Boxes, Sweep
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding

FAR = 300.0
"""Metres from the LiDAR; nuScenes annotates what its radars see, up to 250 m."""

SMALL, LARGE = 0.02, 100.0
"""Metres that the longest side of an object has."""


class KeyFrames:
    """Looks at the splits and boxes of one scene after the other."""

    def __init__(self) -> None:
        self._sweeps: Counter[str] = Counter()
        self._frames: Counter[str] = Counter()
        self._annotated = self._with_points = 0
        self._far, self._sizes = Tally(), Tally()

    def look(self, sweeps: Sequence[Sweep]) -> None:
        for sweep in sweeps:
            self._sweeps[sweep.split] += 1
            self._frames[sweep.split] += sweep.is_key_frame
            if sweep.boxes is not None:
                self._look_at_boxes(sweep.boxes, sweep.token)

    def leave_out(self, sweeps: Sequence[Sweep]) -> None:
        """Remember the split of a scene that is not indexed."""
        self._sweeps[sweeps[0].split] += 0

    def _look_at_boxes(self, boxes: Boxes, token: str) -> None:
        self._annotated += 1
        self._with_points += int((boxes.num_lidar_pts != 0).sum())
        self._far.of += len(boxes)
        far = np.flatnonzero(~(np.abs(boxes.centers) <= FAR).all(axis=1))
        if len(far):
            place = ", ".join(f"{value:.4g}" for value in boxes.centers[far[0]])
            self._far.see(f"{boxes.names[far[0]]} at ({place}) of sweep {token}", len(far))
        longest = boxes.sizes.max(axis=1)
        odd = np.flatnonzero(~((longest >= SMALL) & (longest <= LARGE)))
        self._sizes.of += len(boxes)
        if len(odd):
            self._sizes.see(f"{boxes.names[odd[0]]} of {longest[odd[0]]:.4g} m of sweep {token}", len(odd))

    def findings(self) -> list[Finding]:
        found = [
            Finding(
                f"split {split}",
                "warning",
                f"it has {count} sweeps and no key frame",
                "mark key frames (is_key_frame) in it: they are what a run trains on",
            )
            for split, count in sorted(self._sweeps.items())
            if not self._frames[split]
        ]
        found += self._far.finding(
            "far boxes",
            "warning",
            f"boxes are more than {FAR:g} m from the LiDAR",
            "compare the frame that boxes are in, and their unit (metres)",
        )
        found += self._sizes.finding(
            "sizes of boxes",
            "warning",
            f"boxes have a longest side outside {SMALL:g} to {LARGE:g} m",
            "sizes are in metres",
        )
        if self._annotated and not self._far.of:
            text = f"there are annotations, and not one in {self._annotated} key frames"
            found.append(
                Finding(
                    "boxes",
                    "warning",
                    text,
                    "boxes are found by the token or the name of their key frame: compare them",
                )
            )
        elif self._far.of and not self._with_points:
            text = f"all {self._far.of} boxes are said to hold no point: detectors leave them all out"
            found.append(
                Finding("points in boxes", "problem", text, "count num_lidar_pts, or write -1 for unknown")
            )
        return found
