"""Tables in text: .csv, .txt, .xyz; with a line of names or without."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pc3d.data.point_files.contents import (
    Raw,
    Types,
    broken,
    decoding,
    names_by_position,
    read_start,
    read_whole,
    shown,
)
from pc3d.data.point_files.text_rows import is_number, parse_rows

_START = 1 << 16
_COMMENT = re.compile(rb"#|//")
_DELIMITERS = (b";", b",", b"\t")
_MOST_COLUMNS = 256


@dataclass(frozen=True)
class Layout:
    """How a table is written.

    Attributes:
        names: of its columns; empty where no line names them.
        count: of columns.
        delimiter: one character; a blank stands for any number of blanks and tabs.
        offset: of the first row in the file, bytes. line: its number, from 1.
    """

    names: tuple[str, ...]
    count: int
    delimiter: str
    offset: int
    line: int


def decode(path: Path, key: str = "", layout: Any = None) -> Raw:
    """Columns by the names of the first line (also behind `#` or `//`), as int64, float64, or `str` objects.

    Without such a line: by the names of `layout.sources` in their order, else "0", "1", ... The delimiter is
    `;`, `,`, a tab or blanks: the first of these that the first line has. Empty and `nan` are not a number.

    Raises:
        DataError: the file is missing, no text, a line has another number of values or a word for a number.
    """
    with decoding(path, "CSV"):
        content = read_whole(path)
        table = _layout(content, path)
        names = list(table.names) or names_by_position(
            table.count, tuple(getattr(layout, "sources", ())), path
        )
        unique = [f"{n}" if name == "_" else name for n, name in enumerate(names)]
        columns = parse_rows(content[table.offset :], unique, path, table.line, delimiter=table.delimiter)
        return {name: column for name, column in zip(names, columns, strict=True) if name != "_"}


def columns_of(path: Path) -> Types:
    """Names of the columns, "0", "1", ... where no line names them, and types by the first rows."""
    with decoding(path, "CSV"):
        content = read_start(path, _START)
        table = _layout(content, path)
        names = list(table.names) or [str(n) for n in range(table.count)]
        rows = content[table.offset :]
        if len(content) == _START:  # the last line is cut
            rows = rows[: rows.rfind(b"\n") + 1]
        columns = parse_rows(rows, names, path, table.line, delimiter=table.delimiter)
        return {name: column.dtype for name, column in zip(names, columns, strict=True)}


def _layout(content: bytes, path: Path) -> Layout:
    """What the beginning of a table tells."""
    offset = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:_START]:
        broken("no plain text: write it as UTF-8", path)
    remark: bytes | None = None
    number = 1
    while offset < len(content):
        end = content.find(b"\n", offset)
        stop = end + 1 if end >= 0 else len(content)
        line = content[offset:stop].strip()
        if mark := _COMMENT.match(line):
            remark = line[mark.end() :].strip()
        elif line:
            return _of_line(line, remark, offset, stop, number, path)
        offset, number = stop, number + 1
    broken("the table has no row", path)


def _of_line(line: bytes, remark: bytes | None, offset: int, stop: int, number: int, path: Path) -> Layout:
    """The layout by the first line that is no remark, which names the columns or is the first row."""
    delimiter = next((mark for mark in _DELIMITERS if mark in line), b" ")
    words = _words(line, delimiter)
    if not 3 <= len(words) <= _MOST_COLUMNS:
        broken(f"no row of a table with x, y and z: {shown(line)}", path, number)
    if not any(map(is_number, filter(None, words))) or {b"x", b"y", b"z"} <= {w.lower() for w in words}:
        names, offset, number = _names(words, path, number), stop, number + 1
    elif remark is not None and len(_words(remark, delimiter)) == len(words):
        names = _names(_words(remark, delimiter), path, number)
    else:
        names = ()
    return Layout(names, len(words), delimiter.decode(), offset, number)


def _words(line: bytes, delimiter: bytes) -> list[bytes]:
    return line.split() if delimiter == b" " else [word.strip() for word in line.split(delimiter)]


def _names(words: list[bytes], path: Path, number: int) -> tuple[str, ...]:
    names = tuple(word.decode("utf-8", "replace").strip().strip("\"'").strip() for word in words)
    if len(set(names)) < len(names) or "" in names:
        broken(f"names of columns that are empty or there twice: {shown(', '.join(names))}", path, number)
    return names
