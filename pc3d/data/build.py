"""From a data set root to an index, with a progress bar: what the data_prep scripts call."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.readers import open_reader


def build_index(reader: str, root: str | Path, out: str | Path, rebuild: str, **options: Any) -> SweepIndex:
    """Read a data set and write its index; bad input ends the program with its message.

    Args:
        reader: name of the format, see `pc3d.data.readers.READERS`.
        root: data set root.
        out: index folder.
        rebuild: the command line that does this again, stored in the index.
        options: of the reader.
    """
    console = Console(stderr=True)
    try:
        with console.status(f"reading the tables of {root}"):
            source = open_reader(reader, root, **options)
        sweeps = track(source.sweeps(), "writing the index", total=len(source), console=console)
        write_index(out, sweeps, {**source.metadata, "rebuild": rebuild})
        index = SweepIndex.open(out)
    except (DataError, ImportError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    splits = ", ".join(f"{split} {len(index.key_rows(split))}" for split in index.splits)
    console.print(f"{out}: {len(index)} sweeps, key frames: {splits}", highlight=False, soft_wrap=True)
    return index
