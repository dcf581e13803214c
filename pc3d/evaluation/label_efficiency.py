"""What did pretraining buy? The table of start x label fraction x seed, cell by cell.

A cell is one fine-tuning run. Finished cells are files in a folder, named by the hash of all that
makes a cell, so that a study is resumed by running it again and a changed setting never meets an
old result.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pc3d.storage.whole import clean, read_json, write_bytes

RANDOM = "random"


@dataclass(frozen=True)
class Cell:
    """One run of the table.

    Attributes:
        start: name of the starting weights, a line of the table; "random" is the baseline.
        task: what is trained and scored, e.g. `lidarseg-finetune`, a column of the table.
        fraction: share of the labels, 0 < fraction <= 1.
        seed: of the run.
        checkpoint: file of the starting weights, None for random ones.
        config: every setting that the result depends on, as JSON values.
    """

    start: str
    task: str
    fraction: float
    seed: int
    checkpoint: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}, expected 0 < fraction <= 1")
        if (self.start == RANDOM) != (self.checkpoint is None):
            raise ValueError(
                f"start {self.start!r} with checkpoint {self.checkpoint}: 'random', and only it, has none"
            )

    def describe(self) -> dict[str, Any]:
        """The cell as JSON values; the checkpoint by the hash of its content, not by its path."""
        facts = asdict(self)
        facts["checkpoint"] = (
            None if self.checkpoint is None else _digest(self.checkpoint, self.checkpoint.stat().st_mtime_ns)
        )
        return facts

    def key(self) -> str:
        """Name of the cell's file: a readable head and the hash of `describe()`."""
        text = json.dumps(self.describe(), sort_keys=True, allow_nan=False)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{self.start}-{self.task}-{self.fraction:g}-{self.seed}-{digest}".replace("/", "_")


@lru_cache
def _digest(path: Path, changed: int) -> str:
    """Hash of a file's content; `changed`, its time stamp, keeps the cache honest."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def json_values(value: Any) -> Any:
    """JSON values: arrays and tensors as lists, NaN and infinities, for which it has no word, as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass(frozen=True)
class CellResult:
    """A finished cell and what its run returned (None where a number was not finite)."""

    cell: Cell
    metrics: dict[str, Any]


def run_cells(
    cells: Iterable[Cell], run: Callable[[Cell], Mapping[str, Any]], folder: Path | str
) -> list[CellResult]:
    """Run the cells that have no result in `folder` yet, in order, and return all results.

    A result is written as soon as its cell is done, all or nothing: an interrupted study loses the
    running cell only.

    Args:
        cells: equal ones are run once.
        run: trains and scores one cell; returns numbers, texts, arrays, and lists and dicts of them.
        folder: made if need be.

    Raises:
        ValueError: a file of the folder is not a result.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    clean(folder)
    results = []
    for cell in cells:
        path = folder / f"{cell.key()}.json"
        if not path.exists():
            text = json.dumps(
                {"cell": cell.describe(), "metrics": json_values(run(cell))}, indent=1, allow_nan=False
            )
            write_bytes(path, text.encode())
        try:
            metrics = read_json(path)["metrics"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a result of a cell: delete it and run again") from error
        results.append(CellResult(cell, metrics))
    return results


@dataclass(frozen=True)
class Row:
    """One start at one label fraction of one task.

    Attributes:
        mean, deviation: over the seeds; the sample deviation, NaN for one seed.
        seeds: number of runs.
        gain, gain_deviation: difference from the random start, paired by seed, and its deviation;
            NaN for the random start and without a shared seed.
    """

    start: str
    task: str
    fraction: float
    mean: float
    deviation: float
    seeds: int
    gain: float
    gain_deviation: float


def _mean_deviation(values: Sequence[float]) -> tuple[float, float]:
    mean = statistics.fmean(values) if values else math.nan
    return mean, statistics.stdev(values) if len(values) > 1 else math.nan


def summarise(results: Iterable[CellResult], metric: str = "miou") -> list[Row]:
    """Mean and deviation over seeds and the gain over the random start.

    Args:
        results: of `run_cells`; the rows keep their order.
        metric: a number of each result's metrics.

    Raises:
        ValueError: a result lacks the metric, two cells share a place in the table, or the cells
            of one task and fraction were run with different configs (no comparison then).
    """
    columns: dict[tuple[str, float], dict[str, dict[int, float]]] = {}
    first: dict[tuple[str, float], Cell] = {}
    seen: dict[tuple[str, str, float, int], Cell] = {}
    for result in results:
        cell, value = result.cell, result.metrics.get(metric)
        if not isinstance(value, int | float):
            raise ValueError(f"{cell}: {metric!r} is {value!r}; its metrics are {sorted(result.metrics)}")
        if seen.setdefault((cell.start, cell.task, cell.fraction, cell.seed), cell) != cell:
            raise ValueError(f"{cell} and another cell share start, task, fraction and seed")
        column = (cell.task, cell.fraction)
        if first.setdefault(column, cell).config != cell.config:
            raise ValueError(f"{cell} and {first[column]} are no comparison: their configs differ")
        columns.setdefault(column, {}).setdefault(cell.start, {})[cell.seed] = float(value)
    return [
        _row(start, task, fraction, by_seed, starts.get(RANDOM, {}))
        for (task, fraction), starts in columns.items()
        for start, by_seed in starts.items()
    ]


def _row(start: str, task: str, fraction: float, by_seed: dict[int, float], random: dict[int, float]) -> Row:
    gains = [by_seed[seed] - random[seed] for seed in by_seed if seed in random and start != RANDOM]
    own, gain = _mean_deviation(list(by_seed.values())), _mean_deviation(gains)
    return Row(start, task, fraction, *own, len(by_seed), *gain)


def _percent(mean: float, deviation: float, sign: str = "") -> str:
    if math.isnan(mean):
        return ""
    spread = "" if math.isnan(deviation) else f" ± {100 * deviation:.1f}"
    return f"{100 * mean:{sign}.1f}{spread}"


def to_markdown(rows: Sequence[Row]) -> str:
    """One table per task: a line per start, a column per fraction, mean ± deviation in percent
    and, after it, the gain over the random start."""
    tables = []
    for task in dict.fromkeys(row.task for row in rows):
        of_task = {(row.start, row.fraction): row for row in rows if row.task == task}
        fractions = sorted({fraction for _, fraction in of_task})
        seeds = " or ".join(str(count) for count in sorted({row.seeds for row in of_task.values()}))
        lines = [
            f"**{task}** (percent, mean ± deviation over {seeds} seeds; in brackets the gain over random)",
            "",
            "| start | " + " | ".join(f"{100 * fraction:g} %" for fraction in fractions) + " |",
            "|---|" + "---:|" * len(fractions),
        ]
        for start in dict.fromkeys(start for start, _ in of_task):
            cells = []
            for fraction in fractions:
                row = of_task.get((start, fraction))
                gain = _percent(row.gain, row.gain_deviation, "+") if row else ""
                cells.append(
                    (_percent(row.mean, row.deviation) if row else "") + (f" ({gain})" if gain else "")
                )
            lines.append(f"| {start} | " + " | ".join(cells) + " |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


def plot(rows: Sequence[Row], path: Path | str, metric: str = "mIoU") -> None:
    """Draw the metric against the label fraction, a panel per task, a line per start, error bars
    of one deviation; the suffix of `path` is the format (png, svg, pdf)."""
    from matplotlib.figure import Figure

    if not rows:
        raise ValueError("no rows to plot")
    tasks = list(dict.fromkeys(row.task for row in rows))
    starts = sorted(dict.fromkeys(row.start for row in rows), key=lambda start: start == RANDOM)
    figure = Figure(figsize=(5.2 * len(tasks) + 0.4, 4.2), dpi=150, layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for index, start in enumerate(starts):
            line = sorted((r for r in rows if (r.task, r.start) == (task, start)), key=lambda r: r.fraction)
            if line:
                _draw_line(axes, line, len(starts), index)
        _dress(axes, sorted({row.fraction for row in rows if row.task == task}), task, metric)
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix[1:])
    write_bytes(Path(path), picture.getvalue())


def _draw_line(axes: Any, line: Sequence[Row], count: int, index: int) -> None:
    """One start; starts stand a little beside each other, so that their error bars do not hide."""
    baseline = line[0].start == RANDOM
    shift = 1.03 ** (index - (count - 1) / 2)
    axes.errorbar(
        [100 * row.fraction * shift for row in line],
        [100 * row.mean for row in line],
        [0.0 if math.isnan(row.deviation) else 100 * row.deviation for row in line],
        label=line[0].start,
        color="0.45" if baseline else f"C{index}",
        linestyle="--" if baseline else "-",
        marker="o",
        markersize=5,
        linewidth=1.8,
        capsize=3,
        elinewidth=1.2,
    )


def _dress(axes: Any, fractions: Sequence[float], task: str, metric: str) -> None:
    axes.set_xscale("log")
    axes.set_xticks([100 * f for f in fractions], [f"{100 * f:g} %" for f in fractions])
    axes.minorticks_off()
    axes.set(title=task, xlabel="labelled share of the training set", ylabel=f"{metric} [%]")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
