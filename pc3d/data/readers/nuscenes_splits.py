"""Which split a scene of a nuScenes version is in."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from itertools import combinations
from pathlib import Path

from pc3d.data.errors import did_you_mean, fail
from pc3d.findings import Finding

OFFICIAL_SPLITS: dict[str, tuple[str, ...]] = {
    "v1.0-trainval": ("train", "val"),
    "v1.0-test": ("test",),
    "v1.0-mini": ("mini_train", "mini_val"),
}
"""The devkit's splits that partition each official version."""

_REMEDY = 'write {"my_train": ["scene-1", ...], ...}'


def split_of_scenes(tables: Path, scenes: Collection[str]) -> dict[str, str]:
    """Split of each scene name, of `splits.json` in a version folder, else of the devkit's official lists.

    The first list that names a scene wins: a list may hold another one, as `train` holds `mini_train`.
    Names of scenes that are not there are no harm where every scene has a split (tables of a part).

    Raises:
        DataError: `splits.json` misspells a scene, holds something else, or has two lists that share
            scenes though neither holds the other.
        ImportError: the official lists need nuscenes-devkit.
    """
    lists = listed_splits(tables)
    if lists is None:
        lists = _official_splits(tables.name)
    else:
        _check(lists, scenes, tables / "splits.json")
    return {scene: split for split in reversed(lists) for scene in lists[split]}


def listed_splits(tables: Path) -> dict[str, list[str]] | None:
    """Scene names by split of a version folder's `splits.json`; None without one.

    Raises:
        DataError: it holds something else.
    """
    path = tables / "splits.json"
    if not path.is_file():
        return None
    try:
        lists = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        fail(f"split file is no JSON: {error}", path, _REMEDY)
    if isinstance(lists, dict) and (reserved := {"", "none"} & lists.keys()):
        what = f"a split cannot be called {min(reserved)!r}"
        fail(what, path, "name it otherwise; a scene that is in no list is in split 'none'")
    if not isinstance(lists, dict) or not all(map(_is_list_of_names, lists.values())):
        fail("split file is no object of scene lists", path, _REMEDY)
    return lists


def odd_splits(tables: Path, scenes: Collection[str]) -> list[Finding]:
    """Splits of a version folder's `splits.json` that no scene is in."""
    lists = listed_splits(tables)
    if lists is None:
        return []
    split_of = split_of_scenes(tables, scenes)
    splits = {split_of[scene] for scene in scenes if scene in split_of}
    if not splits:
        text = f"splits.json names none of the {len(scenes)} scenes: all are in split 'none'"
        return [Finding("splits", "warning", text, _REMEDY)]
    found = []
    for split in sorted(lists.keys() - splits):
        held = not set(lists[split]).isdisjoint(scenes)
        text = (
            "its scenes are in a list before it" if held else "splits.json names no scene of it that is there"
        )
        remedy = "write the smaller list before the larger" if held else "name scenes of it, or leave it out"
        found.append(Finding(f"split {split}", "warning", f"it has no key frame: {text}", remedy))
    return found


def _is_list_of_names(scenes: object) -> bool:
    return isinstance(scenes, list) and all(isinstance(scene, str) for scene in scenes)


def _check(lists: Mapping[str, list[str]], scenes: Collection[str], path: Path) -> None:
    left = set(scenes).difference(*lists.values())
    for split, names in lists.items():
        unknown = [name for name in names if name not in scenes]
        if unknown and left:
            fail(
                f"split {split!r} names the scene {unknown[0]!r}, which is not in table scene"
                f"{did_you_mean(unknown[0], sorted(left))}",
                path,
                f"correct its name; scene {min(left)!r} is in no split",
            )
    for (one, names), (other, others) in combinations(lists.items(), 2):
        shared = set(names) & set(others)
        if shared and shared != set(names) and shared != set(others):
            fail(
                f"scene {min(shared)!r} is in the splits {one!r} and {other!r} ({len(shared)} are in both)",
                path,
                "leave each in one of them; only a list that is wholly part of another may repeat its scenes",
            )


def _official_splits(version: str) -> dict[str, list[str]]:
    if version not in OFFICIAL_SPLITS:
        return {}
    try:
        from nuscenes.utils.splits import create_splits_scenes
    except ImportError as error:
        raise ImportError(
            "official nuScenes splits need nuscenes-devkit: pip install nuscenes-devkit"
        ) from error
    scenes = create_splits_scenes()
    return {split: scenes[split] for split in OFFICIAL_SPLITS[version]}
