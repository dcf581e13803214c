"""Which key frames were taken near each other, by the poses of the vehicle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex

Ints = NDArray[np.int64]
_ORIGIN = 1e-3
"""Metres from the origin at which a drive with a world of its own begins."""


def near_frames(
    parts: Sequence[FrameDataset], near: tuple[float, float], reach: int
) -> tuple[Ints, list[Ints]]:
    """The different key frames of data sets that are read one after the other, and what is near each.

    Frames of one scene are near where the vehicle was `near[0]` to `near[1]` metres away, as nearer ones show
    the same objects; frames of other scenes up to `near[1]` metres (our choice). Scenes are compared where
    they have one world: the same index, the same `scene_locations`, and not each an origin of its own.

    Args:
        reach: at most so many of each, the nearest first.

    Returns:
        (L,) number of the frame at each position, and of each frame the numbers of those near it.

    Raises:
        DataError: no pose is known.
    """
    frames = np.zeros(sum(map(len, parts)), dtype=np.int64)
    lists: list[Ints] = []
    ends = np.cumsum([0, *map(len, parts)])
    for fingerprint in dict.fromkeys(part.index.fingerprint for part in parts):
        own = [n for n, part in enumerate(parts) if part.index.fingerprint == fingerprint]
        rows, number = np.unique(np.concatenate([parts[n].rows for n in own]), return_inverse=True)
        split = np.split(number + len(lists), np.cumsum([len(parts[n]) for n in own])[:-1])
        for n, of_part in zip(own, split, strict=True):
            frames[ends[n] : ends[n + 1]] = of_part
        lists += [list_ + len(lists) for list_ in _near_rows(parts[own[0]].index, rows, near, reach)]
    return frames, lists


def _near_rows(index: SweepIndex, rows: Ints, near: tuple[float, float], reach: int) -> list[Ints]:
    from scipy.spatial import cKDTree

    places = np.array([index[row].world_SE3_ego[:3, 3] for row in rows.tolist()])
    scenes = np.array([index.scene_rows(row).start for row in rows.tolist()])
    if len(places) > 1 and np.abs(places).max() < 1e-6:
        fail(
            "all poses are the identity, so no place is known",
            index.folder,
            "give data.sampler a `table` (pc3d neighbours), or leave it out",
        )
    found = [rows[:0] for _ in rows]
    worlds = _worlds(index, scenes)
    for world in np.unique(worlds):
        members = np.flatnonzero(worlds == world)
        tree = cKDTree(places[members])
        for frame in members.tolist():
            others = members[sorted(tree.query_ball_point(places[frame], near[1]))]
            apart = np.linalg.norm(places[others] - places[frame], axis=1)
            kept = (others != frame) & ((scenes[others] != scenes[frame]) | (apart >= near[0]))
            found[frame] = others[kept][np.argsort(apart[kept], kind="stable")][:reach]
    return found


def _worlds(index: SweepIndex, scenes: Ints) -> Ints:
    """A number for each frame, the same where positions can be compared."""
    firsts = {start: index[start] for start in np.unique(scenes).tolist()}
    known = index.metadata.get("scene_locations") or {}
    places = {start: str(known.get(sweep.scene, "")) for start, sweep in firsts.items()}
    apart = all(np.abs(sweep.world_SE3_ego[:2, 3]).max() < _ORIGIN for sweep in firsts.values())
    if apart and len(set(places.values())) == 1:
        return scenes
    names = sorted(set(places.values()))
    return np.array([names.index(places[start]) for start in scenes.tolist()], dtype=np.int64)
