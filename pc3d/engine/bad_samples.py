"""A budget for samples that cannot be read: `data.bad_samples`, a share of the frames of a data set.

A sample that raises a `DataError` is replaced by the next one of the data set that can be read, whatever the
number of workers. Each bad one travels with its stand-in (`Sample.meta`), is named once and kept in
RUN/bad_samples.jsonl; above the budget the run ends. A file that several samples show spoils each of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from torch.utils.data import Dataset

from pc3d.data.batch import Batch
from pc3d.data.dataset import Sample
from pc3d.data.errors import DataError, fail
from pc3d.engine.data import MixedDataset
from pc3d.engine.run_lines import keep_lines
from pc3d.engine.runs.ranks import gathered, largest, on_first, rank

BAD_SAMPLES = "bad_samples.jsonl"
_META = "bad_samples"


@dataclass(frozen=True)
class Budget:
    """How many frames of how many may be bad: their share, rounded down, but one at least.

    Attributes:
        share: `data.bad_samples`. frames: different ones of the data set.
    """

    share: float
    frames: int

    @property
    def allowed(self) -> int:
        return max(int(self.share * self.frames + 1e-9), 1)

    def refuse(
        self, rows: Sequence[dict[str, Any]], saved_at: int | None = None, listed: str = ""
    ) -> NoReturn:
        """Raise a `DataError` that names the first of the bad samples.

        Args:
            saved_at: step of the last save, 0 for none, None where that is not known.
            listed: where they all are.
        """
        shown = "".join(f"\n    {row['token']}: {row['error']} ({row['path']})" for row in rows[:3])
        more = f"\n    and {len(rows) - 3} more{listed}" if len(rows) > 3 else ""
        where = f"sweeps{shown}{more}"
        saved = f"; saved at step {saved_at}" if saved_at else ""
        root = "look at the root of the data set: is it there, and where the index says (data.root=FOLDER)?"
        if len(rows) >= self.frames:
            fail(
                f"none of the {self.frames} samples can be read{saved}",
                where,
                root,
            )
        remedy = "mend the files, or allow more: --cfg-options data.bad_samples=SHARE"
        if saved_at != 0:
            where_saved = " where the run has saved" if saved_at is None else ""
            remedy += f", with --resume --allow-change data.bad_samples{where_saved}"
        if all("missing" in row["error"] for row in rows):
            remedy = f"{root} Else {remedy}"
        fail(
            f"{len(rows)} samples cannot be read; data.bad_samples={self.share:g} allows {self.allowed} of "
            f"{self.frames}{saved}",
            where,
            remedy,
        )


def bad_sample_budget(share: float, dataset: MixedDataset) -> Budget | None:
    """The budget of a run; None where no bad sample is allowed.

    Raises:
        ValueError: not a share from 0 to below 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"data.bad_samples is {share}, expected a share of the frames: 0 to below 1")
    if not share:
        return None
    rows: dict[Path, list[Any]] = {}
    for part in dataset.parts:
        rows.setdefault(part.index.folder, []).append(part.rows)
    return Budget(share, sum(len(np.unique(np.concatenate(several))) for several in rows.values()))


class TolerantDataset(Dataset[Sample]):
    """The data set with each sample that cannot be read replaced by the next one that can.

    Raises:
        DataError: on reading: more bad samples one after the other than the budget has.
    """

    metainfo: dict[str, Any] = {}  # noqa: RUF012  (mmengine asks for it)

    def __init__(self, dataset: MixedDataset, budget: Budget) -> None:
        self.dataset, self.budget = dataset, budget

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        number, position = key
        bad: dict[str, dict[str, Any]] = {}
        for step in range(len(self)):
            place = (position + step) % len(self)
            try:
                sample = self.dataset[number, place]
            except DataError as error:
                row = self._described(place, error)
                bad[row["token"]] = row
                if len(bad) > self.budget.allowed:
                    break
            else:
                return replace(sample, meta={**sample.meta, _META: list(bad.values())})
        self.budget.refuse(list(bad.values()))

    def _described(self, position: int, error: DataError) -> dict[str, Any]:
        """What is kept of a bad sample: its token, the file that the error names, and what it is."""
        number = int(np.searchsorted(self.dataset.cumulative_sizes, position, side="right"))
        start = self.dataset.cumulative_sizes[number - 1] if number else 0
        part = self.dataset.parts[number]
        sweep = part.index[int(part.rows[position - start])]
        where = re.search(r"^  where: (.*?)(?: \(sweep .*)?$", str(error), re.MULTILINE)
        path = where[1] if where else str(sweep.path)
        return {"token": sweep.token, "path": path, "error": str(error).splitlines()[0]}


class BadSamples:
    """The bad samples of a run: named once, counted over its processes, ended above the budget.

    Args:
        folder: of the run.

    Attributes:
        known: what is kept of each, by sweep token.
    """

    def __init__(self, folder: Path, budget: Budget) -> None:
        self.path, self.budget = folder / BAD_SAMPLES, budget
        self.known: dict[str, dict[str, Any]] = {}

    def begin(self, step: int) -> None:
        """Go on with those that were found up to `step`; later ones are found again."""
        lines = on_first(lambda: keep_lines(self.path, step))
        self.known = {row["token"]: row for row in map(json.loads, lines)}

    def look(self, batch: Batch, step: int) -> bool:
        """Name the bad samples that are new in the batch of `step`, in all processes alike.

        Returns:
            Whether there are more than the budget has.
        """
        rows = [row for meta in batch.meta for row in meta.get(_META, ()) if row["token"] not in self.known]
        if not largest([len(rows)])[0]:
            return False
        for row in (row for part in gathered(rows) for row in part):
            if row["token"] not in self.known:
                self.known[row["token"]] = {"step": step, **row}
                self._name(self.known[row["token"]])
        return len(self.known) > self.budget.allowed

    def _name(self, row: dict[str, Any]) -> None:
        if rank() == 0:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            count = f"{len(self.known)} of at most {self.budget.allowed}"
            print(f"bad sample {count}: {row['token']}: {row['error']} ({row['path']})", flush=True)

    def refuse(self, saved_at: int) -> NoReturn:
        """Raise the `DataError` of a budget that is used up."""
        self.budget.refuse(list(self.known.values()), saved_at, f", all in {self.path}")
