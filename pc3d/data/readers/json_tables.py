"""Streams the rows of a large JSON table (an array of objects) without holding it in memory."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from pc3d.data.errors import DataError, fail
from pc3d.data.readers.columns import Kind, take_columns

Row = dict[str, Any]

_CHUNK = 4 << 20
_LARGEST_ROW = 64 << 20
"""Characters; what does not end within them is no row, and is not looked at again with each chunk."""
_BATCH = 100
"""Rows that are checked at once: more leave the cache before they are, and start the garbage collector."""
_REMEDY = "check the root and the version, or extract the metadata archive again"


def read_table(
    path: Path, kinds: Mapping[str, Kind], may_be_empty: bool = False
) -> Iterator[tuple[list[Row], dict[str, Any]]]:
    """Some rows of a table after the other, and their columns; tokens are unique.

    Raises:
        DataError: as `stream_rows`; a column is missing or holds something else; a token twice; no row.
    """
    rows = stream_rows(path)
    hashes, number = array("q"), 0
    while batch := list(islice(rows, _BATCH)):
        columns = take_columns(batch, kinds, path, number)
        number += len(batch)
        hashes.extend(map(hash, columns.get("token", ())))
        yield batch, columns
    if not number and not may_be_empty:
        fail("table has no row", path, _REMEDY)
    if len(np.unique(hashes)) < len(hashes):
        _name_twice(path)


def _name_twice(path: Path) -> None:
    """Tell a token that is there twice from two tokens of one hash."""
    seen: set[str] = set()
    for number, row in enumerate(stream_rows(path)):
        if row["token"] in seen:
            fail(f"token {row['token']!r} is there twice", f"{path}, row {number}", _REMEDY)
        seen.add(row["token"])


def stream_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON file that holds one array of objects.

    Raises:
        DataError: the file is missing, truncated or no such array.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _rows(file, path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"table cannot be read: {error}\n  where: {path}\n  remedy: {_REMEDY}") from error


def _rows(file: Any, path: Path) -> Iterator[Row]:
    decode = json.JSONDecoder().raw_decode
    first = file.read(1)
    while first.isspace():
        first = file.read(1)
    if first != "[":
        fail("table is not a JSON array", path, _REMEDY)
    buffer, at, number = "", 0, 0
    while True:
        # Between rows stand white space and commas; a row that is cut by the end of the buffer
        # does not decode and is tried again with more text.
        while at < len(buffer) and buffer[at] in " \t\r\n,":
            at += 1
        if buffer[at : at + 1] == "]":
            if (buffer[at + 1 :] + file.read(_CHUNK)).strip():
                fail("table goes on after its end", f"{path}, after row {number - 1}", _REMEDY)
            return
        try:
            row, at = decode(buffer, at)
        except json.JSONDecodeError as error:
            more = file.read(_CHUNK)
            if not more or len(buffer) - at > _LARGEST_ROW:
                _broken(path, number, error)
            buffer, at = buffer[at:] + more, 0
            continue
        except (ValueError, RecursionError) as error:  # an integer of thousands of digits; nested too deep
            _broken(path, number, error)
        if not isinstance(row, dict):
            fail("table holds something that is no row", f"{path}, row {number}", _REMEDY)
        number += 1
        yield row


def _broken(path: Path, number: int, error: Exception) -> NoReturn:
    raise DataError(
        f"table is truncated or broken: {error}\n  where: {path}, row {number}\n  remedy: {_REMEDY}"
    ) from error
