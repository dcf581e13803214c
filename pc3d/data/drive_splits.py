"""Splits of data that has none: whole drives go to train, val and test, by chance, by place or by time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pc3d.data.checks import read_findings, write_findings
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.splits import write_tokens

Rule = Literal["drive", "place", "time"]
RULES: tuple[Rule, ...] = ("drive", "place", "time")
SPLITS = ("train", "val", "test")
_SAMPLES = 200
"""Positions of a drive that are compared with those of others."""


@dataclass(frozen=True, eq=False)
class Drive:
    """A scene of an index.

    Attributes:
        name: of the scene. place: of its map, "" where the data set does not say.
        tokens: of its key frames, ascending in time.
        start: microseconds.
        track: (N, 2) metres, some of its positions.
    """

    name: str
    place: str
    tokens: tuple[str, ...]
    start: int
    track: NDArray[np.float64]


def drives_of(index: SweepIndex) -> list[Drive]:
    """The drives of an index that have key frames, in its order."""
    places = index.metadata.get("scene_locations") or {}
    found = []
    for _, group in groupby(index.key_rows(None).tolist(), key=lambda row: index.scene_rows(row).start):
        rows = list(group)
        shown = [index[row] for row in rows]
        track = np.array([sweep.world_SE3_ego[:2, 3] for sweep in shown])
        track = track[:: max(1, len(track) // _SAMPLES)]
        name = shown[0].scene
        tokens = tuple(sweep.token for sweep in shown)
        found.append(Drive(name, str(places.get(name, "")), tokens, shown[0].timestamp, track))
    return found


def split_drives(
    drives: Sequence[Drive],
    shares: Mapping[str, float],
    rule: Rule = "drive",
    seed: int = 0,
    apart: float = 50.0,
) -> dict[str, str]:
    """Split of each drive, by its name.

    Args:
        shares: of the key frames by split, above 0, together 1. Each split gets at least one drive.
        rule: `drive` draws drives by chance; `place` those that pass within `apart` metres of each other
            together; `time` gives the earliest drives to the first split and the latest to the last.
        seed: of the draw. apart: metres.

    Raises:
        DataError: fewer drives (or places) than splits; positions that cannot be compared.
        ValueError: shares that are none.
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"shares are {dict(shares)}, expected numbers above 0 that make 1")
    if rule == "place":
        groups = _by_place(drives, apart)
    elif rule == "time":
        groups = [[drive] for drive in sorted(drives, key=lambda drive: (drive.start, drive.name))]
    else:
        groups = [[drive] for drive in drives]
    if len(groups) < len(shares):
        kind = "places" if rule == "place" else "drives"
        fail(
            f"{len(groups)} {kind} cannot be {len(shares)} splits: a drive is never in two of them",
            ", ".join(drive.name for drive in drives[:5]),
            "index more drives, ask for fewer splits" + (", or for another --by" if rule == "place" else ""),
        )
    if rule != "time":
        order = np.random.default_rng([seed, len(groups)]).permutation(len(groups))
        groups = [groups[n] for n in order]
    return _dealt(groups, shares)


def _dealt(groups: Sequence[Sequence[Drive]], shares: Mapping[str, float]) -> dict[str, str]:
    """Deal groups in order: a split is full when the next would take it farther from its share."""
    sizes = [sum(len(drive.tokens) for drive in group) for group in groups]
    total, at, split_of = sum(sizes), 0, {}
    names = list(shares)
    for number, name in enumerate(names):
        left, wanted, got = len(names) - number - 1, shares[name] * total, 0
        while at < len(groups) - left and (
            got == 0 or left == 0 or abs(got + sizes[at] - wanted) <= abs(got - wanted)
        ):
            split_of.update({drive.name: name for drive in groups[at]})
            got += sizes[at]
            at += 1
    return split_of


def _by_place(drives: Sequence[Drive], apart: float) -> list[list[Drive]]:
    """Drives that pass within `apart` metres of each other, directly or over others, together."""
    from scipy.spatial import cKDTree

    if all(np.abs(drive.track).max() < 1e-6 for drive in drives):
        fail("all poses are the identity, so no place is known", "the index", "take --by drive or --by time")
    maps = {drive.place for drive in drives}
    if len(drives) > 1 and len(maps) == 1 and all(np.abs(drive.track[0]).max() < 1e-3 for drive in drives):
        fail(
            "each drive starts at the origin of a world of its own, so no place is known",
            "the index",
            "take --by drive or --by time, or poses of one map",
        )
    group_of = list(range(len(drives)))
    trees = [cKDTree(drive.track) for drive in drives]
    for a, one in enumerate(drives):
        for b in range(a):
            if one.place == drives[b].place and trees[a].count_neighbors(trees[b], apart):
                old, new = group_of[a], group_of[b]
                group_of = [new if group == old else group for group in group_of]
    members: dict[int, list[Drive]] = {group: [] for group in group_of}
    for drive, group in zip(drives, group_of, strict=True):
        members[group].append(drive)
    return list(members.values())


def check_apart(index: SweepIndex, lists: Mapping[str, Sequence[str]]) -> None:
    """Refuse lists of tokens that share a drive.

    Raises:
        DataError: a drive is in two lists, or a token in no index.
    """
    seen: dict[str, str] = {}
    for name, tokens in lists.items():
        for scene in {index[int(row)].scene for row in index.rows_of(tokens)}:
            other = seen.setdefault(scene, name)
            if other != name:
                fail(
                    f"drive {scene!r} is in {other} and in {name}",
                    index.folder,
                    "leave it in one: frames of a drive look alike, and a score on them proves nothing",
                )


def write_split_lists(
    drives: Sequence[Drive], split_of: Mapping[str, str], folder: Path, how: str
) -> dict[str, Path]:
    """Write a token list for each split, `SPLIT.txt`; gives the files by split.

    Raises:
        DataError: the folder holds the list of another split, whose drives may be in these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    old = sorted(
        path.name
        for name in SPLITS
        if name not in split_of.values() and (path := folder / f"{name}.txt").exists()
    )
    if old:
        fail(
            f"{', '.join(old)} of another division lies there, which shares drives with the new lists",
            folder,
            "remove it, or name another folder",
        )
    written = {}
    for split in dict.fromkeys(split_of.values()):
        of_split = [drive for drive in drives if split_of[drive.name] == split]
        tokens = [token for drive in of_split for token in drive.tokens]
        written[split] = folder / f"{split}.txt"
        comment = f"{split}: {len(tokens)} key frames of {len(of_split)} drives, {how}"
        write_tokens(written[split], tokens, comment)
    return written


def apply_splits(index: SweepIndex, split_of: Mapping[str, str], how: str, command: str) -> SweepIndex:
    """Write the index again with these splits; `command` is what makes them."""
    facts = index.metadata  # what it says of its own rows is written anew
    notes = [*(note for note in facts.get("notes", ()) if not note.startswith("splits: ")), f"splits: {how}"]
    rebuild = f"{facts['rebuild'].partition(' && pc3d split ')[0]} && {command}"
    sweeps = (index[row] for row in range(len(index)))
    changed = (replace(sweep, split=split_of.get(sweep.scene, "none")) for sweep in sweeps)
    findings = read_findings(index.folder)
    write_index(index.folder, changed, {**facts, "root": str(index.root), "notes": notes, "rebuild": rebuild})
    if findings is not None:
        write_findings(index.folder, findings)
    return SweepIndex.open(index.folder, root=index.root)
