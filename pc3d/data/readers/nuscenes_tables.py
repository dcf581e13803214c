"""The columns of the nuScenes tables that are read, and what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pc3d.data.errors import fail
from pc3d.data.readers.columns import (
    CAMERA_MATRIX,
    COUNT,
    FILE,
    FLAG,
    LINK,
    POSITION,
    ROTATION,
    SIZE,
    TEXT,
    TIME,
    TOKEN,
    TOKENS,
    Kind,
)
from pc3d.data.readers.json_tables import Row, read_table

COLUMNS: dict[str, dict[str, Kind]] = {
    "scene": {"token": TOKEN, "name": TEXT, "log_token": TOKEN},
    "sample": {"token": TOKEN, "scene_token": TOKEN, "timestamp": TIME},
    "log": {"token": TOKEN, "location": TEXT},
    "sensor": {"token": TOKEN, "channel": TEXT, "modality": TEXT},
    "calibrated_sensor": {
        "token": TOKEN,
        "sensor_token": TOKEN,
        "translation": POSITION,
        "rotation": ROTATION,
        "camera_intrinsic": CAMERA_MATRIX,
    },
    "ego_pose": {"token": TOKEN, "translation": POSITION, "rotation": ROTATION},
    "sample_data": {
        "token": TOKEN,
        "sample_token": TOKEN,
        "ego_pose_token": TOKEN,
        "calibrated_sensor_token": TOKEN,
        "timestamp": TIME,
        "is_key_frame": FLAG,
        "filename": FILE,
    },
    "category": {"token": TOKEN, "name": TEXT},
    "attribute": {"token": TOKEN, "name": TEXT},
    "instance": {"token": TOKEN, "category_token": TOKEN},
    "sample_annotation": {
        "token": TOKEN,
        "sample_token": TOKEN,
        "instance_token": TOKEN,
        "attribute_tokens": TOKENS,
        "translation": POSITION,
        "size": SIZE,
        "rotation": ROTATION,
        "prev": LINK,
        "next": LINK,
        "num_lidar_pts": COUNT,
    },
    "lidarseg": {"sample_data_token": TOKEN, "filename": FILE},
}
"""By table, without the columns that nothing here reads."""

LYFT_FOLDERS = ("lidar", "images")
"""That the files of Lyft lie in."""
_FILENAME, _HEAD = re.compile(rb'"filename"\s*:\s*"([^"/]+)/'), 1 << 16
MAY_BE_EMPTY = ("category", "attribute", "instance", "sample_annotation", "lidarseg")
"""Test sets have no annotations."""


def versions(root: Path) -> list[str]:
    """Names of the version folders of a data set root."""
    return sorted(path.parent.name for path in root.glob("*/sample_data.json"))


def first_folder(tables: Path) -> str:
    """The folder that files of a version start with: `samples` or `sweeps`, of Lyft `lidar` or `images`;
    empty where none is stated at the start of its table."""
    with (tables / "sample_data.json").open("rb") as file:
        found = _FILENAME.search(file.read(_HEAD))
    return found[1].decode(errors="replace") if found else ""


class NuScenesTables:
    """The tables of one version folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, table: str) -> Path:
        return self.folder / f"{table}.json"

    def read(self, table: str) -> Iterator[tuple[list[Row], dict[str, Any]]]:
        """Some rows of a table after the other, and their columns.

        Raises:
            DataError: what `read_table` finds.
        """
        return read_table(self.path(table), COLUMNS[table], table in MAY_BE_EMPTY)

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of a table, checked."""
        for rows, _ in self.read(table):
            yield from rows

    def column(self, table: str, name: str) -> dict[str, Any]:
        """The values of a column by token."""
        return {
            token: value
            for _, columns in self.read(table)
            for token, value in zip(columns["token"], columns[name], strict=True)
        }

    def follow(
        self, target: Mapping[str, Any], table: str, tokens: Iterable[str], of: str, rows: Iterable[str]
    ) -> list[Any]:
        """What `target`, made of `table`, has for each of some tokens, which rows of table `of` name.

        Raises:
            DataError: it has nothing for one.
        """
        try:
            return [target[token] for token in tokens]
        except KeyError:
            token, row = next(pair for pair in zip(tokens, rows, strict=True) if pair[0] not in target)
            fail(
                f"token {token!r} is not in table {table}",
                f"{self.path(of)} (token {row})",
                "extract the metadata archives of one version into one folder",
            )
