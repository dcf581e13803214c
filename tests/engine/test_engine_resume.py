"""A run that was killed with SIGKILL goes on from its last save and ends as if nothing had happened."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from engine_configs import finetune_config, pretrain_config, read_metrics
from forked_runs import Job, run_jobs
from run_trials import SMALL, prc

from pc3d.engine.runs.folder import FINISHED
from pc3d.engine.runs.store import CheckpointStore

STEPS = 4
TINY: dict[str, Any] = {
    "runtime.keep_checkpoints": 1,
    "lidar.voxel_size": (1.0, 1.0, 1.0),
}
IMAGES: dict[str, Any] = {**SMALL, "data.image_size": (64, 128), "data.cameras": 1}
JOINT: dict[str, Any] = {
    "objectives.fac.num_anchors": 64,
    "objectives.fac.num_background": 64,
    "objectives.flow.pixel_stride": 8,
}


@dataclass(frozen=True)
class Cell:
    """A cell of the table; the saves are in the middle of a pass over the six key frames.

    Attributes:
        save: step that it goes on from. kill: see `Job`.
    """

    objective: str
    workers: int
    precision: str
    ranks: int
    save: int
    kill: dict[str, Any]
    save_every: int = 1

    def __str__(self) -> str:
        return f"{self.objective}-workers{self.workers}-{self.precision}-ranks{self.ranks}"


QUICK = [
    Cell("demo_joint", 2, "float32", 2, 2, {"in_step": 3}, save_every=2),
    Cell("finetune", 0, "bfloat16", 1, 2, {"at_name": "rename iter_2.json"}),
]
"""Each objective, number of workers and processes, precision and kind of end once."""
MORE = [
    Cell("sim_joint", 2, "float32", 1, 2, {"in_step": 2}),
    Cell("demo_joint", 0, "bfloat16", 2, 1, {"at_name": "rename iter_2.pth"}),
    Cell("finetune", 2, "float32", 2, 2, {"in_step": 3}, save_every=2),
]
KILLS = [
    (2, {"in_step": 2}),
    (1, {"in_step": 1}),
    (1, {"at_name": "rename iter_2.pth"}),
    (2, {"at_name": "remove iter_1.pth"}),
]
TABLE = [
    Cell(*settings, *KILLS[number % 4])  # type: ignore[arg-type]
    for number, settings in enumerate(
        itertools.product(("sim_joint", "demo_joint", "finetune"), (0, 2), ("float32", "bfloat16"), (1, 2))
    )
]


def write_config(cell: Cell, index: Path, regions: Path, path: Path) -> None:
    settings = {
        **TINY,
        "runtime.save_every": cell.save_every,
        "data.workers": cell.workers,
        "data.batch_size": 1,
        "runtime.precision": cell.precision,
    }
    if cell.objective == "finetune":
        config = finetune_config(index, STEPS, **settings, **{"data.fraction": 100})
    else:
        settings |= IMAGES | (JOINT if cell.objective == "sim_joint" else {})
        config = pretrain_config(index, regions, STEPS, cell.objective, **settings)
    path.write_text(config.pretty_text)


def jobs_of(cell: Cell, folder: Path) -> list[Job]:
    """A straight run, one that is killed, and the killed one resumed."""
    kind = "finetune" if cell.objective == "finetune" else "pretrain"
    straight = Job(str(folder / "config.py"), str(folder / "straight"), kind, cell.ranks)
    other = replace(straight, run=str(folder / "killed"))
    return [straight, replace(other, **cell.kill), replace(other, resume=True)]


def assert_same(straight: Path, resumed: Path, steps: int) -> None:
    """All weights and the marker byte for byte, all losses to the last bit."""
    names = {path.name for path in straight.glob("*.safetensors")}
    assert names == {path.name for path in resumed.glob("*.safetensors")}
    assert names
    for name in (*names, FINISHED):
        assert (straight / name).read_bytes() == (resumed / name).read_bytes(), name
    rows = [read_metrics(run) for run in (straight, resumed)]
    for row in itertools.chain(*rows):
        row.pop("seconds_per_step")
    assert rows[0] == rows[1]
    assert [row["step"] for row in rows[0]] == list(range(1, steps + 1))


def try_cells(cells: list[Cell], index: Path, regions: Path, folder: Path, timeout: float) -> None:
    folders = [folder / str(number) for number in range(len(cells))]
    for cell, place in zip(cells, folders, strict=True):
        place.mkdir()
        write_config(cell, index, regions, place / "config.py")
    jobs = [job for cell, place in zip(cells, folders, strict=True) for job in jobs_of(cell, place)]
    run_jobs(folder, jobs, timeout)
    for cell, place in zip(cells, folders, strict=True):
        assert f"going on from step {cell.save}" in (place / "killed.log").read_text(), cell
        assert_same(place / "straight", place / "killed", STEPS)


def test_a_killed_run_resumes_exactly(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    """Two cells of the table: killed in a step of the second process, and within a save."""
    try_cells(QUICK, tiny_index, tiny_regions, tmp_path, 300)


@pytest.mark.long
@pytest.mark.parametrize("cell", [*TABLE, *MORE], ids=str)
def test_the_whole_table(cell: Cell, tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    try_cells([cell], tiny_index, tiny_regions, tmp_path, 300)


def _points(calls: list[str], writes: int = 8) -> list[int]:
    """Each call of a run that is not a write, and some of the writes of each file."""
    points: list[int] = []
    for is_write, group in itertools.groupby(range(len(calls)), lambda n: calls[n].startswith("write")):
        numbers = list(group)
        points += numbers[:: max(len(numbers) // writes, 1)] if is_write else numbers
    return points


@pytest.mark.long
@pytest.mark.parametrize("keep", [1, 2])
def test_a_kill_at_every_call_of_the_writer(
    keep: int, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    """The run goes on from its last save, whichever call of the disk was its last one."""
    settings = {**TINY, "runtime.save_every": 1, "runtime.keep_checkpoints": keep}
    (tmp_path / "config.py").write_text(prc(tiny_index, tiny_regions, 3, **settings).pretty_text)
    straight = Job(str(tmp_path / "config.py"), str(tmp_path / "straight"))
    run_jobs(tmp_path, [straight])
    calls = Path(f"{straight.run}.calls").read_text().splitlines()
    points = _points(calls)
    runs = {point: replace(straight, run=str(tmp_path / str(point))) for point in points}
    run_jobs(tmp_path, [replace(run, at_call=point) for point, run in runs.items()], 1200)
    expected = {}
    for point, run in runs.items():
        saved = calls[:point].count("rename last_checkpoint")
        newest = CheckpointStore(Path(run.run)).find().newest
        expected[point] = newest.step if newest else 0
        assert saved <= expected[point] <= saved + 1, calls[point]
    run_jobs(tmp_path, [replace(run, resume=True) for run in runs.values()], 1200)
    for point, run in runs.items():
        log = Path(f"{run.run}.log").read_text()
        finished = "the run is finished" in log
        from_step = f"going on from step {expected[point]}" if expected[point] else "starts at its first step"
        assert finished or from_step in log, calls[point]
        assert not finished or "rename finished.json" in calls[:point]
        assert_same(Path(straight.run), Path(run.run), 3)
        assert not list(Path(run.run).glob(".*.partial"))
    assert len(points) > 60
    print(f"{len(points)} kills at {len(calls)} calls")
