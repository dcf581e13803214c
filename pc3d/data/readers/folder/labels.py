"""Label files of an own folder: found by the name of their scan, their type told by their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.readers.folder.scenes import LABEL_FILES

_BY_WIDTH = {1: "uint8", 2: "uint16", 4: "uint32"}


def label_of(folder: Path, stem: str) -> Path | None:
    """The label file of a scan, None where it has none."""
    return next((p for end in LABEL_FILES if (p := folder / f"{stem}{end}").is_file()), None)


def label_format(label: Path, scan: Path, valid: NDArray[np.bool_]) -> tuple[str, str]:
    """How a label file is read, and why: by its size.

    Args:
        valid: (raw points,) which points of the scan are valid; labels are of all or of these.

    Raises:
        DataError: its size is that of no type for the points of its scan.
    """
    if label.suffix == ".npy":
        return "npy", "it is a .npy"
    if label.suffix == ".npz":
        fail(
            "an .npz does not say which of its arrays holds the labels", label, "say labels.format: npy:NAME"
        )
    size = label.stat().st_size
    for count in (len(valid), int(valid.sum())):
        width = size // count if count and size % count == 0 else 0
        if width in _BY_WIDTH:
            kind = _BY_WIDTH[width]
            more = ": the low 16 bits are the category" if width == 4 else ""
            return kind, f"{width} bytes for each of the {count} points of its scan{more}"
    fail(
        f"the label file has {size} bytes, its scan {len(valid)} points",
        f"{label}, {scan}",
        "write uint8, uint16 or uint32, one for each point; or say labels.format in the calibration",
    )
