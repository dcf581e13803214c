"""The splits that a data set in nuScenes format lists itself."""

from __future__ import annotations

import json
from pathlib import Path

from pc3d.data.errors import fail

_REMEDY = 'write {"my_train": ["scene-1", ...], ...}'


def listed_splits(tables: Path) -> dict[str, list[str]] | None:
    """Scene names by split of a version folder's `splits.json`; None without one.

    Raises:
        DataError: it holds something else.
    """
    path = tables / "splits.json"
    if not path.is_file():
        return None
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        fail(f"split file is no JSON: {error}", path, _REMEDY)
    if not isinstance(lists, dict) or not all(map(_is_list_of_names, lists.values())):
        fail("split file is no object of scene lists", path, _REMEDY)
    return lists


def _is_list_of_names(scenes: object) -> bool:
    return isinstance(scenes, list) and all(isinstance(scene, str) for scene in scenes)
