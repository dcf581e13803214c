"""Streams the rows of a large JSON table (an array of objects) without holding it in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pc3d.data.errors import DataError, fail

_CHUNK = 4 << 20


def stream_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON file that holds one array of objects.

    Raises:
        DataError: the file is missing, truncated or no such array.
    """
    try:
        with path.open(encoding="utf-8") as file:
            yield from _rows(file, path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"table cannot be read: {error}\n  where: {path}\n  remedy: check the root and the version, "
            "or extract the metadata archive again"
        ) from error


def _rows(file: Any, path: Path) -> Iterator[dict[str, Any]]:
    decode = json.JSONDecoder().raw_decode
    first = file.read(1)
    while first.isspace():
        first = file.read(1)
    if first != "[":
        fail("table is not a JSON array", path, "extract the metadata archive again")
    buffer, at = "", 0
    while True:
        # Between rows stand white space and commas; a row that is cut by the end of the buffer
        # does not decode and is tried again with more text.
        while at < len(buffer) and buffer[at] in " \t\r\n,":
            at += 1
        if buffer[at : at + 1] == "]":
            return
        try:
            row, at = decode(buffer, at)
        except json.JSONDecodeError as error:
            more = file.read(_CHUNK)
            if not more:
                raise DataError(
                    f"table is truncated or broken: {error}\n  where: {path}\n  remedy: extract the "
                    "metadata archive again"
                ) from error
            buffer, at = buffer[at:] + more, 0
            continue
        if not isinstance(row, dict):
            fail("table holds something that is no row", path, "extract the metadata archive again")
        yield row
