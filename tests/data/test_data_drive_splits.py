"""Splits by drive, place and time: no drive in two, shares met, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.drive_splits import (
    RULES,
    Drive,
    apply_splits,
    check_apart,
    drives_of,
    split_drives,
    write_split_lists,
)
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.splits import read_tokens


def make(sizes: list[int], places: list[float]) -> list[Drive]:
    return [
        Drive(
            f"d{n}",
            "",
            tuple(f"d{n}/{frame}" for frame in range(size)),
            (7 * n) % len(sizes),
            np.array([[place, 10.0 + n]]),
        )
        for n, (size, place) in enumerate(zip(sizes, places, strict=True))
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=3, max_size=25),
    st.integers(0, 5),
    st.sampled_from(RULES),
    st.sampled_from([{"train": 0.8, "val": 0.2}, {"train": 0.6, "val": 0.3, "test": 0.1}]),
)
def test_every_drive_is_in_one_split(sizes: list[int], seed: int, rule: str, shares: dict) -> None:
    drives = make(sizes, [1000.0 * n for n in range(len(sizes))])
    split_of = split_drives(drives, shares, rule, seed)  # type: ignore[arg-type]
    assert split_of == split_drives(drives, shares, rule, seed)  # type: ignore[arg-type]
    assert set(split_of) == {drive.name for drive in drives}
    assert set(split_of.values()) == set(shares)
    total = sum(sizes)
    for name, share in shares.items():
        frames = sum(len(drive.tokens) for drive in drives if split_of[drive.name] == name)
        assert abs(frames - share * total) <= len(shares) * max(sizes)
    if rule == "time":
        order = sorted(drives, key=lambda drive: (drive.start, drive.name))
        ranks = [list(shares).index(split_of[drive.name]) for drive in order]
        assert ranks == sorted(ranks)


def test_drives_of_one_place_stay_together() -> None:
    drives = make([5] * 6, [0.0, 30.0, 60.0, 1000.0, 1020.0, 5000.0])
    for seed in range(8):
        split_of = split_drives(drives, {"train": 0.5, "val": 0.5}, "place", seed)
        assert split_of["d0"] == split_of["d1"] == split_of["d2"]
        assert split_of["d3"] == split_of["d4"]
    # The same coordinates on two maps are two places.
    moved = [replace(drive, place=str(number % 2)) for number, drive in enumerate(drives)]
    assert len(set(split_drives(moved[:2], {"train": 0.5, "val": 0.5}, "place").values())) == 2
    with pytest.raises(DataError, match="1 places cannot be 2 splits"):
        split_drives(drives[:3], {"train": 0.5, "val": 0.5}, "place")


def test_places_that_are_not_known() -> None:
    shares = {"train": 0.5, "val": 0.5}
    still = [replace(drive, track=np.zeros((3, 2))) for drive in make([2, 2, 2], [0, 0, 0])]
    with pytest.raises(DataError, match="identity"):
        split_drives(still, shares, "place")
    own = [replace(drive, track=np.array([[0.0, 0], [9.0, 0]])) for drive in still]
    with pytest.raises(DataError, match="world of its own"):
        split_drives(own, shares, "place")
    with pytest.raises(DataError, match="never in two"):
        split_drives(own[:1], shares)
    with pytest.raises(ValueError, match="make 1"):
        split_drives(own, {"train": 0.5, "val": 0.2})


def test_lists_and_the_index(tiny_index: Path, tmp_path: Path) -> None:
    opened = SweepIndex.open(tiny_index)
    facts = {key: opened.metadata[key] for key in ("dataset", "root", "rebuild", "classes")}
    write_index(tmp_path / "index", (opened[row] for row in range(len(opened))), facts)
    index = SweepIndex.open(tmp_path / "index")
    drives = drives_of(index)
    split_of = split_drives(drives, {"train": 0.5, "val": 0.5}, seed=1)
    written = write_split_lists(drives, split_of, tmp_path / "lists", "by drive, seed 1")
    lists = {name: read_tokens(path) for name, path in written.items()}
    check_apart(index, lists)
    assert sum(map(len, lists.values())) == len(index.key_rows(None))
    with pytest.raises(DataError, match="is in train and in val"):
        check_apart(index, {**lists, "val": [*lists["val"], lists["train"][0]]})
    changed = apply_splits(index, split_of, "by drive", "pc3d split index --apply")
    assert set(changed.splits) == {"train", "val"}
    for name, tokens in lists.items():
        assert {changed[int(row)].token for row in changed.key_rows(name)} == set(tokens)
    assert changed.metadata["rebuild"].endswith("&& pc3d split index --apply")
    again = apply_splits(changed, split_of, "by drive", "pc3d split index --apply")
    assert again.metadata["rebuild"] == changed.metadata["rebuild"]
    assert again.metadata["notes"] == changed.metadata["notes"]
