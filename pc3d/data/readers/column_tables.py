"""Tables stored by column (Feather, Parquet, pickled frames): each column that is read is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.records import MAX_DISTANCE, Float64
from pc3d.geometry.rigid import quaternion_to_matrix

_REMEDY = "copy the table again from the data set"


@dataclass(frozen=True, eq=False)
class ColumnTable:
    """N rows of a table.

    Attributes:
        path: for the messages.
        columns: (N,) arrays by name.
    """

    path: Path
    columns: Mapping[str, NDArray]

    def numbers(
        self, *names: str, low: float = -MAX_DISTANCE, high: float = MAX_DISTANCE, expected: str = "metres"
    ) -> Float64:
        """(N, names) float64, each at least `low` and at most `high`.

        Raises:
            DataError: a column is missing, or a value of it is no such number.
        """
        taken = []
        for name in names:
            values = self._column(name)
            if values.dtype.kind not in "iuf":
                fail(f"column {name!r} is {values.dtype}, expected numbers", self.path, _REMEDY)
            values = values.astype(np.float64)
            with np.errstate(invalid="ignore"):
                fits = (values >= low) & (values <= high)
            self._check(name, fits, values, f"{expected}, {low:g} to {high:g}")
            taken.append(values)
        return np.stack(taken, axis=1)

    def sizes(self, *names: str) -> Float64:
        """(N, names) float64 lengths above 0."""
        return self.numbers(*names, low=1e-6, high=1e3, expected="metres above 0")

    def whole(self, name: str, low: int, high: int) -> NDArray[np.int64]:
        """(N,) whole numbers, each at least `low` and at most `high`."""
        values = self._column(name)
        if values.dtype.kind not in "iu":
            fail(f"column {name!r} is {values.dtype}, expected whole numbers", self.path, _REMEDY)
        self._check(name, (values >= low) & (values <= high), values, f"{low} to {high}")
        return values.astype(np.int64)

    def flags(self, name: str) -> NDArray[np.bool_]:
        """(N,) true or false."""
        values = self._column(name)
        if values.dtype.kind != "b":
            fail(f"column {name!r} is {values.dtype}, expected true or false", self.path, _REMEDY)
        return values

    def texts(self, name: str) -> list[str]:
        """N texts, none of them empty."""
        values = self._column(name).tolist()
        fits = np.array([isinstance(value, str) and value != "" for value in values], dtype=np.bool_)
        self._check(name, fits, np.array(values, dtype=object), "a text")
        return values

    def rotations(self, *names: str) -> Float64:
        """(N, 3, 3) of the columns of unit quaternions w x y z."""
        quaternions = self.numbers(*names, low=-1.01, high=1.01, expected="a part of a unit quaternion")
        fits = np.abs((quaternions**2).sum(axis=1) - 1) < 0.01
        self._check(", ".join(names), fits, quaternions, "a unit quaternion")
        return quaternion_to_matrix(quaternions) if len(fits) else np.zeros((0, 3, 3))

    def _column(self, name: str) -> NDArray:
        if name not in self.columns:
            there = ", ".join(self.columns)
            fail(f"there is no column {name!r}", self.path, f"{_REMEDY}; it has {there or 'none'}")
        return np.asarray(self.columns[name])

    def _check(self, name: str, fits: NDArray[np.bool_], values: NDArray, expected: str) -> None:
        if not fits.all():
            row = int(np.argmin(fits))
            shown = str(values[row])[:80]
            fail(f"column {name!r} is {shown}, expected {expected}", f"{self.path}, row {row}", _REMEDY)
