"""The detection classes that the index of a config has, as far as that can be read before the data are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError, did_you_mean
from pc3d.engine.settings.check import Fault
from pc3d.storage.whole import read_json

Settings = Mapping[str, Any]


def detection_of(data: Settings) -> tuple[str, ...] | None:
    """The detection classes of the first source whose index can be read; None where there is none."""
    for source in data.get("sources") or [{}]:
        index = {**data, **source}.get("index")
        try:
            classes = ClassSet.of(read_json(Path(str(index)) / "metadata.json"))
        except (OSError, ValueError, AttributeError, DataError):  # opening the index says it
            continue
        if classes is not None and classes.detection:
            return classes.detection
    return None


def paste_faults(data: Settings) -> Iterator[Fault]:
    """Classes that are to be pasted and that the index does not have."""
    known, paste = detection_of(data), data.get("paste") or {}
    for name in paste.get("counts") or {}:
        if known is not None and name not in known:
            text = f"names {name!r}, the index has {', '.join(known)}{did_you_mean(name, known)}"
            yield Fault("data.paste.counts", text)
