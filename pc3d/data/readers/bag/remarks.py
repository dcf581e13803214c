"""What was odd in the messages of bags, counted over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pc3d.data.readers.bag.scan import Scan, Track
from pc3d.data.readers.bag.transforms import TransformTree
from pc3d.findings import Finding

_LATE = 1.0
"""Seconds between the stamp of a message and its recording above which a clock is another's."""


class Remarks:
    """Keeps one finding for each kind of thing that was odd, with the first example."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}
        self._poseless = self._wanted = 0

    def see(self, scene: str, found: Scan) -> None:
        """Look at the topics of a bag."""
        for track in found.tracks.values():
            self._see_track(scene, track)
        for topic in sorted(found.changed):
            text = f"it changes within bag {scene}: the first one is taken for all images"
            self._keep(f"calibration of {topic}", text, "cut the bag where it changes, or --camera-info FILE")
        if len(found.frames) > 1:
            pairs = ", ".join(" to ".join(pair) for pair in sorted(found.frames))
            text = f"they are of several frames in bag {scene}: {pairs}; all are taken as the first"
            self._keep("frames of poses", text, "cut the bag where they change, or name another --poses")
        if found.poses is not None and (count := found.poses.contradictions):
            self._contradict(scene, found.poses.name, count)

    def _contradict(self, scene: str, name: str, count: int) -> None:
        text = f"{count} poses of bag {scene} have the stamp of another, which counts"
        self._keep(f"equal stamps of {name}", text, "--stamps log where it is a topic; else mend its sender")

    def overridden(self, scene: str, links: Sequence[tuple[str, str]]) -> None:
        """Links of a bag that a file of transforms took the place of."""
        if links:
            named = ", ".join(f"{parent} to {child}" for parent, child in links)
            name = "transforms of the file"
            text = f"they hold instead of those of the bags: {named} in bag {scene}"
            self._found.setdefault(name, Finding(name, "ok", text))

    def see_used(self, scene: str, tree: TransformTree, time: int) -> None:
        """Look at the transforms that the sweeps of a bag needed, of which one was at a time (ns)."""
        if links := tree.ambiguous(time):
            text = f"other links of bag {scene} contradict {', '.join(links)}: the shortest way is taken"
            remedy = "--transforms FILE says which one holds; one frame should have one parent"
            self._keep("transforms of two ways", text, remedy)
        if tree.borrowed:
            text = (
                f"bag {scene} has no fixed transforms {', '.join(tree.borrowed)}: an earlier bag's are taken"
            )
            self._keep("fixed transforms", text, "index it by itself with --transforms FILE if it has others")
        if tree.changed:
            text = f"bag {scene} says several for {', '.join(tree.changed)}: the last fixed one is taken"
            remedy = "--transforms FILE says which one holds; cut the bag where a mount was moved"
            self._keep("fixed transforms that change", text, remedy)
        for name, count in tree.contradictions.items():
            self._contradict(scene, f"the transform {name}", count)

    def _see_track(self, scene: str, track: Track) -> None:
        name = f"{track.topic}"
        if track.unstamped:
            text = f"{track.unstamped} headers of bag {scene} have no time: that of recording is taken"
            self._keep(f"stamps of {name}", text, "set header.stamp in the driver")
        if track.repeated:
            text = (
                f"{track.repeated} of {len(track.late)} messages of bag {scene} have the stamp of another: "
            )
            remedy = "--stamps log takes the times of recording; else mend header.stamp in the driver"
            self._keep(f"equal stamps of {name}", f"{text}left out", remedy)
        seen = len(track.late) + track.empty
        if seen != track.expected:
            text = f"bag {scene} has {seen} messages, its table says {track.expected}"
            self._keep(f"messages of {name}", text, "copy the bag again, or reindex it")
        if track.empty:
            text = f"{track.empty} clouds of bag {scene} hold no point: left out"
            self._keep(f"empty clouds of {name}", text, "look at the sensor and its driver")
        if len(track.frames) > 1:
            frames = ", ".join(sorted(track.frames))
            self._keep(
                f"frames of {name}", f"several in bag {scene}: {frames}; {track.frame} is taken", "split it"
            )
        late = float(np.median(track.late)) if track.late else 0.0
        if abs(late) > _LATE:
            text = f"stamps of bag {scene} are {late:.3g} s from the time of recording (median)"
            remedy = "where clocks differ between topics: --stamps log, or --stamp-offset TOPIC=SECONDS"
            self._keep(f"clock of {name}", text, remedy)

    def without_pose(self, scene: str, missing: int, of: int) -> None:
        """Count sweeps that were left out."""
        self._poseless += missing
        self._wanted += of
        if missing:
            self._keep("sweeps without a pose", scene, "")

    def _keep(self, name: str, text: str, remedy: str) -> None:
        self._found.setdefault(name, Finding(name, "warning", text, remedy))

    def findings(self) -> list[Finding]:
        """One of each kind."""
        found = dict(self._found)
        if first := found.pop("sweeps without a pose", None):
            text = (
                f"{self._poseless} of {self._wanted} sweeps have no pose near by and were left out, first in "
                f"bag {first.text}"
            )
            remedy = "--pose-tolerance SECONDS widens the search, --poses none does without"
            found[first.name] = Finding(first.name, "warning", text, remedy)
        return list(found.values())
