"""Folders into which frames of containers are written as files of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pc3d.data.errors import fail
from pc3d.data.points.formats import point_format
from pc3d.data.points.load import columns_of
from pc3d.storage.whole import write_bytes

_SETTINGS = "extracted.json"


def extracted_format(lidar_format: str) -> str:
    """The format of extracted points: float32 in standard units."""
    return f"bin:{','.join(columns_of(point_format(lidar_format)))}"


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder that holds what was extracted otherwise; else note how it is.

    Raises:
        DataError: the folder has files that are not of an extraction, or of another one.
    """
    path = folder / _SETTINGS
    text = json.dumps(settings, indent=1, sort_keys=True)
    if path.is_file():
        if path.read_text(encoding="utf-8") != text:
            fail("the folder holds frames that were extracted otherwise", path, "name another --extract")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail("the folder to extract to is not empty", folder, "name another --extract")
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())


def write_frame(path: Path, content: bytes) -> None:
    """Write a file of a frame; it can be extracted again, so nothing waits for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content, durable=False)
