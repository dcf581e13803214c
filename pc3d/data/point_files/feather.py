"""Tables of columns: Arrow (Feather, IPC) and Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.point_files.contents import MOST_BYTES, Raw, Types, broken, decoding, read_whole, shown

if TYPE_CHECKING:
    import pyarrow as pa

_ARROW, _PARQUET = b"ARROW1", b"PAR1"
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def decode(path: Path, key: str = "", layout: object = None) -> Raw:
    """Columns by name: numbers as stored, text as `str` objects, time stamps as float64 seconds since 1970.

    Whole numbers of which some are missing become float64 with not-a-number. Lists and structures are left
    out.

    Raises:
        DataError: the file is missing, of another format, or damaged.
    """
    with decoding(path, "table"):
        table = _read(read_whole(path), path)
        return {
            name: _values(column)
            for name, column in zip(table.column_names, table.columns, strict=True)
            if _is_flat(column.type)
        }


def columns_of(path: Path) -> Types:
    """Names and types of the columns that `decode` gives."""
    return {name: column.dtype for name, column in decode(path).items()}


def _read(content: bytes, path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    source = pa.BufferReader(content)
    if content.startswith(_PARQUET):
        file = parquet.ParquetFile(source)
        values = file.metadata.num_rows * max(file.metadata.num_columns, 1)
        if not 0 <= values <= MOST_BYTES // 8:
            broken(f"its header says {file.metadata.num_rows} rows: more than any sweep", path)
        table = file.read(use_threads=False)
    elif content.startswith(_ARROW):
        options = pa.ipc.IpcReadOptions(use_threads=False)
        table = pa.ipc.open_file(source, options=options).read_all()
    else:
        broken(f"no Feather or Parquet file: it starts with {shown(content[:8])}", path)
    table.validate(full=True)  # offsets that lead out of the file
    if len(set(table.column_names)) < len(table.column_names):
        broken("two columns have one name", path)
    return table


def _is_flat(kind: Any) -> bool:
    from pyarrow import types

    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def _values(column: Any) -> NDArray:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_timestamp(kind):
        counts = column.cast(pa.int64()).to_numpy()
        return counts.astype(np.float64) * _SECONDS[kind.unit]
    if pa.types.is_boolean(kind) and column.null_count:
        return column.cast(pa.int8()).to_numpy()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column.to_numpy()
    return np.array(column.cast(pa.string()).to_pylist(), dtype=object)
