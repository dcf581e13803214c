"""The classes that an index gets: those of the reader, or others that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pc3d.data.classes import ClassSet, load_class_set, ready_made
from pc3d.data.errors import fail

COMMON = "common"


def with_classes(metadata: Mapping[str, Any], wanted: str | Path | None) -> dict[str, Any]:
    """Metadata of a reader with the classes that were asked for.

    Args:
        wanted: a YAML file, or the name of a set that comes with pc3d; `common` for the common classes by the
            reader's own set, `FILE:common` by the section `common` of a file. None: the reader's own set.

    Raises:
        DataError: there is no such set, it does not fit together, or the reader's has no common section.
    """
    if wanted is None:
        return dict(metadata)
    name, _, section = str(wanted).rpartition(":")
    if section != COMMON:
        return {**metadata, "classes": load_class_set(str(wanted)).to_dict()}
    return {**metadata, "classes": load_class_set(name or _own(metadata), common=True).to_dict()}


def _own(metadata: Mapping[str, Any]) -> str:
    """Name of the reader's own set, which has a section `common`."""
    own = ClassSet.of(metadata)
    if own is None or own.name not in ready_made():
        has = "no classes" if own is None else f"the classes {own.name!r}"
        fail(
            f"the data set has {has}, for which pc3d knows no common ones",
            "--classes common",
            "write a class file with a section `common`, and give it: --classes FILE.yaml:common",
        )
    return own.name
