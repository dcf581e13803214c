"""Rows of numbers in a text, with the line and the word of the first that is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.point_files.contents import broken, shown

if TYPE_CHECKING:
    import pyarrow as pa

_NOT_A_NUMBER = ["nan", "NaN", "NAN", "-nan", "-NaN", "-nan(ind)", "nan(ind)"]
_TO_BLANKS = bytes.maketrans(b"\t\r\v\f", b"    ")


def parse_rows(
    text: bytes,
    names: Sequence[str],
    path: Path,
    first_line: int,
    types: Mapping[str, np.dtype] | None = None,
    delimiter: str = " ",
) -> list[NDArray]:
    """Columns of a text of one row a line; empty lines do not count.

    Args:
        names: of the columns, none twice.
        first_line: number of the text's first line in the file, for messages.
        types: of the columns; None: whole numbers, other numbers (an empty word is not a number) or words,
            by what each column holds.
        delimiter: one character; the blank stands for any number of blanks and tabs.

    Returns:
        An array for each name. Without `types` those of words are of `str` objects.

    Raises:
        DataError: names the first line that has another number of words, or a word that is no number.
    """
    import pyarrow as pa

    if delimiter == " ":
        text = single_blanks(text)
    if not text.strip():
        return [np.zeros(0, dtype=(types or {}).get(name, np.float64)) for name in names]
    try:
        table = _read_table(text, names, types, delimiter)
    except pa.ArrowException as error:
        _find_bad_line(text, names, path, first_line, dict(types or {}), delimiter)
        broken(f"the rows cannot be read: {' '.join(str(error).split())[:200]}", path)
    columns = [_array(column) for column in table.columns]
    _check_columns(columns, text, names, path, first_line, types, delimiter)
    return columns


def _read_table(
    text: bytes, names: Sequence[str], types: Mapping[str, np.dtype] | None, delimiter: str
) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    free = types is None
    declared = {name: pa.from_numpy_dtype(dtype) for name, dtype in (types or {}).items()}
    return csv.read_csv(
        pa.BufferReader(text),
        # One block: the types come from all rows, and the lines keep their order.
        read_options=csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=list(names)),
        parse_options=csv.ParseOptions(delimiter=delimiter, quote_char='"' if free else False),
        convert_options=csv.ConvertOptions(
            column_types=declared, null_values=[*_NOT_A_NUMBER, ""] if free else _NOT_A_NUMBER
        ),
    )


def single_blanks(text: bytes) -> bytes:
    """The text with one blank where there are several or tabs, and none at the ends of lines."""
    text = text.translate(_TO_BLANKS)
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text.replace(b" \n", b"\n").replace(b"\n ", b"\n").strip(b" ")


def is_number(word: bytes) -> bool:
    """Whether a word is one, not-a-number and infinity among them."""
    try:
        float(word.strip().replace(b"_", b"?"))
    except ValueError:
        return word.strip().decode("ascii", "replace") in _NOT_A_NUMBER
    return True


def _array(column: Any) -> NDArray:
    """Numbers as numbers, all else as `str` objects."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy()
    words = column.cast(pa.string()).to_pylist()
    return np.array(["" if word is None else word for word in words], dtype=object)


def _check_columns(
    columns: Sequence[NDArray],
    text: bytes,
    names: Sequence[str],
    path: Path,
    first_line: int,
    types: Mapping[str, np.dtype] | None,
    delimiter: str,
) -> None:
    """Refuse not-a-number among whole numbers, and a word in a column that starts as numbers."""
    for name, column in zip(names, columns, strict=True):
        if types is not None and column.dtype != types[name]:
            _find_bad_line(text, names, path, first_line, dict(types), delimiter)
            broken(f"column {name!r} is not of the type {types[name]}", path)
        if types is None and column.dtype == object and is_number(str(column[0]).encode()):
            numbers = {name: np.dtype(np.float64)}
            _find_bad_line(text, names, path, first_line, numbers, delimiter)


def _find_bad_line(
    text: bytes,
    names: Sequence[str],
    path: Path,
    first_line: int,
    types: Mapping[str, np.dtype],
    delimiter: str,
) -> None:
    """Raise the error of the first line that is wrong, if one is found."""
    for number, line in enumerate(text.split(b"\n"), start=first_line):
        if not line.strip():
            continue
        words = line.strip(b"\r").split(delimiter.encode())
        if len(words) != len(names):
            broken(
                f"{len(words)} values where {len(names)} are expected ({', '.join(names)}): {shown(line)}",
                path,
                number,
            )
        for name, word in zip(names, words, strict=True):
            if name in types and not _is_of(word, types[name]):
                hint = "; write decimal points, not commas" if b"," in word else ""
                broken(f"{name!r} is {shown(word)}, expected {_expected(types[name])}{hint}", path, number)


def _is_of(word: bytes, dtype: np.dtype) -> bool:
    if dtype.kind == "f":
        return is_number(word)
    try:
        value = int(word)
    except ValueError:
        return False
    return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def _expected(dtype: np.dtype) -> str:
    if dtype.kind == "f":
        return "a number"
    return f"a whole number from {np.iinfo(dtype).min} to {np.iinfo(dtype).max}"
