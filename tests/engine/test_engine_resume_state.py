"""What objectives and samplers keep over steps: a killed run with them goes on exactly where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_configs import pretrain_config, read_metrics
from forked_runs import Job, run_jobs
from mmengine.config import Config
from run_trials import before_steps, killed_at, prc
from safetensors.torch import load_file
from torch import Tensor

from pc3d.data.batch import Needs
from pc3d.data.index import SweepIndex
from pc3d.data.sampler_table import SamplerTable
from pc3d.engine.config import plain
from pc3d.engine.data import build_dataset
from pc3d.engine.pretrainer import pretrain
from pc3d.engine.runs.run import Mode
from pc3d.engine.runs.store import CheckpointStore
from pc3d.engine.training import open_run

STEPS = 4
SAVED, KILLED = 2, 3
COARSE = {"lidar.voxel_size": (1.0, 1.0, 1.0), "runtime.save_every": SAVED}
PARTS = {
    "type": "PointContrast",
    "num_points": 96,
    "contrast": {
        "positives": [
            {"type": "Memory", "prototypes": 4, "rows": 150, "neighbours": 2},
            {"type": "PseudoLabel", "clusters": 4, "queue": 150, "every": 2},
        ],
        "negatives": [{"type": "ClusterWeights", "counts": (3, 5), "queue": 150, "every": 2}],
        "regularizers": [{"type": "ProtoNCE", "counts": (3,), "queue": 150, "every": 3}],
    },
}
KEEPING: dict[str, dict[str, Any]] = {
    "parts": PARTS,
    "views": {"type": "ViewAssignment", "num_points": 96, "num_prototypes": 6, "queue": 150, "freeze": 3},
    "beclr": {
        "type": "BECLR",
        "num_points": 48,
        "prototypes": 4,
        "rows": 150,
        "neighbours": 2,
        "steps": STEPS,
    },
}
"""Objectives that keep something over steps, each full of it at the save."""
MORE: dict[str, dict[str, Any]] = {
    "words": {"type": "BagOfWords", "words": 100, "sectors": 3},
    "slots": {"type": "SlotContrast", "num_points": 48, "prototypes": 5},
}


def same_files(straight: Path, resumed: Path) -> None:
    """All weights and queues byte for byte, all losses to the last bit."""
    names = sorted(path.name for path in straight.glob("*.safetensors"))
    assert names == sorted(path.name for path in resumed.glob("*.safetensors"))
    for name in names:
        assert (straight / name).read_bytes() == (resumed / name).read_bytes(), name
    rows = [[{**row, "seconds_per_step": 0} for row in read_metrics(run)] for run in (straight, resumed)]
    assert rows[0] == rows[1]


def state_at(folder: Path) -> dict[str, Tensor]:
    """The weights and buffers of the objectives at the newest checkpoint."""
    newest = CheckpointStore(folder).find().newest
    assert newest is not None
    assert newest.step == SAVED
    saved = torch.load(folder / f"iter_{SAVED}.pth", weights_only=True)
    state = saved["model"] if "model" in saved else saved["state_dict"]
    return {name.split("objectives.", 1)[1]: x for name, x in state.items() if "objectives." in name}


@pytest.mark.parametrize("more", [{}, pytest.param(MORE, marks=pytest.mark.long)], ids=["", "more"])
def test_queues_and_prototypes_go_on_exactly(
    more: dict[str, dict[str, Any]], tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    def config() -> Config:
        made = pretrain_config(tiny_index, tiny_regions, STEPS, "sim_pointcontrast", **COARSE)
        made.objectives = {**KEEPING, **more}
        return made

    straight, other = tmp_path / "straight", tmp_path / "killed"
    pretrain(config(), straight)
    killed_at(KILLED, lambda: pretrain(config(), other))
    state = state_at(other)
    seen = {name: int(x) for name, x in state.items() if name.endswith("seen")}
    assert {name.split(".")[0] for name in seen} == {*KEEPING, *more} - {"slots"}
    assert all(rows >= 100 for rows in seen.values())
    made = [bool(x) for name, x in state.items() if name.endswith("made")]
    assert made == [True] * (4 + 3)  # four parts, three memories
    pretrain(config(), other, resume=True)
    same_files(straight, other)
    ended = load_file(straight / "heads.safetensors")
    moved = [name for name, x in ended.items() if name.endswith(("features", "centroids", "prototypes"))]
    assert len(moved) >= 15
    assert all(not torch.equal(ended[name], state[name]) for name in moved)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samplers")


@pytest.fixture(scope="module")
def table(tiny_index: Path, folder: Path) -> Path:
    """The six key frames: each is most like the one at its mirrored place; two labels of three."""
    index = SweepIndex.open(tiny_index)
    rows = index.key_rows("sim_train").astype(np.int64)
    numbers = np.arange(len(rows))
    assert len(rows) == 6
    near = numbers[::-1, None].copy()
    SamplerTable((index.fingerprint,), numbers * 0, rows, near, numbers // 3).save(folder / "table.npz")
    return folder / "table.npz"


Steps = dict[int, list[str]]


def sampled(index: Path, regions: Path, kind: str, table: Path, batch: int = 2, steps: int = STEPS) -> Config:
    chosen = {"type": kind, "table": str(table)}
    return prc(index, regions, steps, **COARSE, **{"data.sampler": chosen, "data.batch_size": batch})


def read_by(train: Callable[[], object]) -> Steps:
    """The tokens of each step of a run."""
    seen: Steps = {}
    with before_steps(lambda loop, batch: seen.__setitem__(loop.iter, list(batch.tokens))):
        train()
    return seen


@pytest.fixture(scope="module")
def read_at_once(tiny_index: Path, tiny_regions: Path, table: Path, folder: Path) -> dict[str, Steps]:
    """What runs in one process read that are not killed, in folders named like their samplers."""

    def read(kind: str) -> Steps:
        config = sampled(tiny_index, tiny_regions, kind, table)
        return read_by(lambda: pretrain(config, folder / kind))

    return {kind: read(kind) for kind in ("Neighbours", "Clusters")}


@pytest.mark.parametrize("kind", ["Neighbours", "Clusters"])
def test_a_sampler_goes_on_where_a_killed_run_was(
    kind: str,
    read_at_once: dict[str, Steps],
    tiny_index: Path,
    tiny_regions: Path,
    table: Path,
    folder: Path,
) -> None:
    def config() -> Config:
        return sampled(tiny_index, tiny_regions, kind, table)

    other = folder / f"{kind}-killed"
    first = read_by(lambda: killed_at(KILLED, lambda: pretrain(config(), other)))
    again = read_by(lambda: pretrain(config(), other, resume=True))
    assert list(again) == list(range(SAVED, STEPS))
    assert first | again == read_at_once[kind]
    same_files(folder / kind, other)


@pytest.mark.parametrize(
    ("kind", "killed"),
    [
        ("Clusters", False),
        pytest.param("Clusters", True, marks=pytest.mark.long),
        pytest.param("Neighbours", True, marks=pytest.mark.long),
    ],
)
def test_two_processes_read_together_what_one_does(
    kind: str,
    killed: bool,
    read_at_once: dict[str, Steps],
    tiny_index: Path,
    tiny_regions: Path,
    table: Path,
    tmp_path: Path,
) -> None:
    path, whole = tmp_path / "config.py", read_at_once[kind]
    path.write_text(sampled(tiny_index, tiny_regions, kind, table, batch=1).pretty_text)
    job = Job(str(path), str(tmp_path / "run"), ranks=2, tokens=True)
    run_jobs(tmp_path, [replace(job, in_step=KILLED), replace(job, resume=True)] if killed else [job])
    assert list(whole) == list(range(STEPS))
    assert len({token for tokens in whole.values() for token in tokens}) >= 4
    lines = [(tmp_path / f"run.tokens.{rank}").read_text().splitlines() for rank in range(2)]
    assert all(len(own) == STEPS + killed * (KILLED + 1 - SAVED) for own in lines)
    # Of a step that was made twice the last line counts.
    read = [{int(line.split()[0]): line.split()[1] for line in own} for own in lines]
    assert {step: [own[step] for own in read] for step in range(STEPS)} == whole


def test_epochs_are_passes_over_what_a_sampler_reads(
    tiny_index: Path, tiny_regions: Path, table: Path
) -> None:
    """Six frames are three batches of neighbours, and one of each of two labels."""
    for kind, steps in (("Neighbours", 6), ("Clusters", 4)):
        config = sampled(tiny_index, tiny_regions, kind, table)
        config.schedule = {"epochs": 2}
        dataset = build_dataset(plain(config.data), Needs(), config.seed)
        assert open_run(config, dataset, table.parent / "run", Mode()).iterations == steps


@pytest.mark.long
def test_queues_of_two_processes_go_on_exactly(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    config = pretrain_config(
        tiny_index, tiny_regions, STEPS, "sim_pointcontrast", **COARSE, **{"data.batch_size": 1}
    )
    config.objectives = {**KEEPING, **MORE}
    (tmp_path / "config.py").write_text(config.pretty_text)
    straight = Job(str(tmp_path / "config.py"), str(tmp_path / "straight"), ranks=2)
    other = replace(straight, run=str(tmp_path / "killed"))
    run_jobs(tmp_path, [straight, replace(other, in_step=KILLED), replace(other, resume=True)])
    assert f"going on from step {SAVED}" in (tmp_path / "killed.log").read_text()
    same_files(tmp_path / "straight", tmp_path / "killed")
