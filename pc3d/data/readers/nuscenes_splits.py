"""Which split a scene of a nuScenes version is in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations
from pathlib import Path

from pc3d.data.errors import did_you_mean, fail
from pc3d.data.plain_files import read_plain
from pc3d.findings import Finding

OFFICIAL_SPLITS: dict[str, tuple[str, ...]] = {
    "v1.0-trainval": ("train", "val"),
    "v1.0-test": ("test",),
    "v1.0-mini": ("mini_train", "mini_val"),
}
"""The devkit's splits that partition each official version."""

_REMEDY = 'write {"my_train": ["scene-1", ...], ...}'


def split_of_scenes(tables: Path, scenes: Collection[str], nested: bool = True) -> dict[str, str]:
    """Split of each scene name, of `splits.json` in a version folder, else of the devkit's official lists.

    The first list that names a scene wins: a list may hold another one, as `train` holds `mini_train`.
    Names of scenes that are not there are no harm where every scene has a split (tables of a part).

    Args:
        nested: a list may hold another one; with False, no scene may be in two.

    Raises:
        DataError: `splits.json` misspells a scene, holds something else, has a split twice, or two lists that
            share scenes though they may not.
        ImportError: the official lists need nuscenes-devkit.
    """
    lists = listed_splits(tables)
    if lists is None:
        lists = _official_splits(tables.name)
    else:
        _check(lists, scenes, tables / "splits.json", nested)
    return {scene: split for split in reversed(lists) for scene in lists[split]}


def listed_splits(tables: Path) -> dict[str, list[str]] | None:
    """Scene names by split of a version folder's `splits.json`; None without one.

    Raises:
        DataError: it holds something else.
    """
    path = tables / "splits.json"
    if not path.is_file():
        return None
    lists = read_plain(path, "the split file")
    if isinstance(lists, dict) and (reserved := {"", "none"} & lists.keys()):
        what = f"a split cannot be called {min(reserved)!r}"
        fail(what, path, "name it otherwise; a scene that is in no list is in split 'none'")
    if not isinstance(lists, dict) or not all(map(_is_list_of_names, lists.values())):
        fail("split file is no object of scene lists", path, _REMEDY)
    return lists


def odd_splits(tables: Path, scenes: Collection[str], all_in_one: bool = False) -> list[Finding]:
    """Splits of a version folder's `splits.json` that no scene is in.

    Args:
        all_in_one: each scene should be in one split and in no other.
    """
    lists = listed_splits(tables)
    if lists is None:
        return []
    split_of = split_of_scenes(tables, scenes, nested=not all_in_one)
    splits = {split_of[scene] for scene in scenes if scene in split_of}
    if not splits:
        text = f"splits.json names none of the {len(scenes)} scenes: all are in split 'none'"
        return [Finding("splits", "warning", text, _REMEDY)]
    found = []
    left = sorted(set(scenes) - split_of.keys()) if all_in_one else []
    if left:
        text = f"splits.json names {len(left)} of {len(scenes)} scenes in no split: {', '.join(left[:3])}"
        found.append(Finding("splits", "warning", text, "they are in split 'none', which no run takes"))
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


def _check(lists: Mapping[str, list[str]], scenes: Collection[str], path: Path, nested: bool) -> None:
    left = set(scenes).difference(*lists.values())
    for split, names in lists.items():
        unknown = [name for name in names if name not in scenes]
        if unknown and left:
            fail(
                f"split {split!r} names the scene {unknown[0]!r}, which is not there"
                f"{did_you_mean(unknown[0], sorted(left))}",
                path,
                f"correct its name; scene {min(left)!r} is in no split",
            )
    for (one, names), (other, others) in combinations(lists.items(), 2):
        shared = set(names) & set(others)
        if shared and not (nested and shared in (set(names), set(others))):
            remedy = "leave each in one of them"
            fail(
                f"scene {min(shared)!r} is in the splits {one!r} and {other!r} ({len(shared)} are in both)",
                path,
                remedy + "; only a list that is wholly part of another may repeat its scenes" * nested,
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
