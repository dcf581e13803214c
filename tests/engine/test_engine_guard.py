"""Steps that are not finite: left out whole, counted, kept to be run again, and never saved."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from engine_configs import BEV, pretrain_config, read_metrics
from mmengine.config import Config
from run_trials import before_steps, ended, prc
from safetensors.torch import load_file
from test_engine_degenerate import STAGED, SYSTEMS
from torch import Tensor

from pc3d.data.batch import Batch
from pc3d.data.collate import collate
from pc3d.engine.config import plain
from pc3d.engine.data import MixedDataset, build_dataset
from pc3d.engine.loop import StreamTrainLoop
from pc3d.engine.optimization import GuardedOptimWrapper, build_optimizer, prepare
from pc3d.engine.pretrainer import Pretrainer, build_pretrainer, objective_needs, pretrain
from pc3d.engine.runs.failure import read_failure
from pc3d.engine.runs.guard import NonFiniteGuard
from pc3d.engine.runs.state import non_finite
from pc3d.engine.runs.store import CheckpointStore
from pc3d.engine.stages import stage_configs

QUICK = ["sim_fac", "sim_proposalcontrast", "sim_calico:rad"]
SLOW = [name for name in (*SYSTEMS, *STAGED) if name not in QUICK]
STREAK = 5
"""Steps in a row that end a run."""


def built(name: str, index: Path, regions: Path, folder: Path) -> tuple[Pretrainer, MixedDataset, Config]:
    """The narrow model of a system, or of a stage of it, laid out for training, its data and its config."""
    name, _, stage = name.partition(":")
    small = BEV if stage else {"data.cameras": 1}
    config = pretrain_config(index, regions, 1, name, narrow=not stage, **small)
    if stage:
        config = stage_configs(config, folder)[stage]
        config.pop("init", None)
    model = build_pretrainer(config).train()
    prepare(model, {})
    return model, build_dataset(plain(config.data), objective_needs(plain(config.objectives))), config


def state_of(model: torch.nn.Module, wrapper: GuardedOptimWrapper) -> dict[str, Tensor]:
    """A copy of every tensor that a step may change, buffers that are not saved included."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), **model.state_dict()}
    for number, state in enumerate(wrapper.optimizer.state.values()):
        tensors |= {f"optimizer {number} {name}": value for name, value in state.items()}
    return {name: value.detach().clone() for name, value in tensors.items()}


def differing(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    assert before.keys() == after.keys()
    bits = {name: value.numpy().tobytes() for name, value in before.items()}
    return [name for name, value in after.items() if value.numpy().tobytes() != bits[name]]


def spoil_points(batch: Batch) -> None:
    """The intensity of every point is not a number."""
    for frame in batch.frames.values():
        for view in frame.views.values():
            view.points[:, 3] = math.nan


def _infinite(gradient: Tensor) -> Tensor:
    spoilt = gradient.clone()
    spoilt[(0,) * spoilt.ndim] = math.inf
    return spoilt


@contextmanager
def spoilt(kind: str, model: Pretrainer, batch: Batch) -> Iterator[None]:
    """A step in this block has a point, a loss or (alone) an entry of one gradient that is not finite."""
    if kind == "points":
        spoil_points(batch)
        yield
        return
    if kind == "loss":
        objective = next(iter(model.objectives.values()))
        hook = objective.register_forward_hook(lambda _, args, out: {**out, "loss": out["loss"] * math.nan})
    else:
        hook = next(p for p in model.parameters() if p.requires_grad).register_hook(_infinite)
    yield
    hook.remove()


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in SLOW)])
def test_a_step_that_is_not_finite_changes_nothing(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, name: str
) -> None:
    """Not a bit of weights, momentum copies, buffers and optimizer, and it is counted."""
    model, data, config = built(name, tiny_index, tiny_regions, tmp_path)
    wrapper = build_optimizer(model, config.optimizer)
    recorded: list[int] = []
    guard = NonFiniteGuard(model, wrapper, STREAK, lambda step, *_: recorded.append(step) or "")  # type: ignore[func-returns-value]
    samples = [data[0, 0]]

    def step(number: int, kind: str = "") -> bool:
        batch = collate(samples)
        guard.before_step()
        with spoilt(kind, model, batch) if kind else nullcontext():
            results = model.train_step(batch, wrapper)
        if kind == "gradient":
            assert wrapper.finite_loss
        return guard.after_step(number, batch, results)

    assert not step(1)
    before = state_of(model, wrapper)
    for number, kind in enumerate(("points", "loss", "gradient")):
        assert step(2 + number, kind)
        assert differing(before, state_of(model, wrapper)) == [], kind
        assert (guard.streak, guard.total, recorded) == (1 + number, 1 + number, [2])
    assert not step(5)
    assert guard.streak == 0
    after = state_of(model, wrapper)
    assert differing(before, after)
    assert non_finite({"model": after, "optimizer": {}}) == set()


def spoil(steps: range) -> Callable[[StreamTrainLoop, Batch], None]:
    def change(loop: StreamTrainLoop, batch: Batch) -> None:
        if loop.iter in steps:
            spoil_points(batch)

    return change


def test_one_bad_sweep_among_good_ones(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    """The run ends finite, and its metrics tell of the step."""
    with before_steps(spoil(range(1, 2))):
        pretrain(prc(tiny_index, tiny_regions, 4), tmp_path)
    rows = read_metrics(tmp_path)
    assert [row.get("skipped_steps", 0) for row in rows] == [0, 1, 0, 0]
    assert ["loss" in row for row in rows] == [True, False, True, True]
    for name in ("backbone", "heads"):
        assert all(
            bool(torch.isfinite(t).all()) for t in load_file(tmp_path / f"{name}.safetensors").values()
        )
    failure = read_failure(tmp_path / "failure")
    assert failure.step == 2
    assert not bool(torch.isfinite(failure.batch.now.views["a"].points).all())


def test_several_in_a_row_end_the_run(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its own exit code, the weights from before the first of them, and that step to run again."""
    seen: dict[int, list[str]] = {}

    def change(loop: StreamTrainLoop, batch: Batch) -> None:
        seen[loop.iter + 1] = batch.tokens
        spoil(range(2, 20))(loop, batch)

    config = prc(tiny_index, tiny_regions, 20)
    with before_steps(change):
        code, message = ended(lambda: pretrain(config, tmp_path), capsys)
    assert code == 3
    assert f"in {STREAK} steps in a row, first in step 3" in message
    assert all(token in message for token in seen[3])
    assert "pc3d replay" in message
    assert "Traceback" not in message
    facts = json.loads((tmp_path / "failure/failure.json").read_text())
    assert (facts["step"], facts["tokens"]) == (3, seen[3])
    store = CheckpointStore(tmp_path)
    newest = store.find().newest
    assert newest is not None
    assert newest.step == 2 + STREAK
    state = store.read(newest)
    assert non_finite(state) == set()
    assert state["model"]["step"] == 2
    assert not (tmp_path / "backbone.safetensors").exists()


def test_weights_that_the_optimizer_makes_infinite_are_never_saved(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = {"optimizer.lr": 1e36, "optimizer.weight_decay": 1e3, "schedule.kind": "constant"}
    config = prc(tiny_index, tiny_regions, 4, **huge, **{"runtime.save_every": 1})
    code, message = ended(lambda: pretrain(config, tmp_path), capsys)
    assert code == 3
    assert "not finite after step 1 and are not saved" in message
    assert "optimizer.lr" in message
    assert not list(tmp_path.glob("*.pth"))
    assert not list(tmp_path.glob("*.safetensors"))


def _process(rank: int, index: str, regions: str, folder: str) -> None:
    """One of two processes; only the second one meets a bad sweep, in its second step."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    config = prc(Path(index), Path(regions), 3, launcher="pytorch")
    with before_steps(spoil(range(rank, 2 * rank))):
        pretrain(config, Path(folder) / "run")
    dist.destroy_process_group()


@pytest.mark.long
def test_a_bad_sweep_in_one_of_two_processes(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    """Both leave the step out, and the one that met it keeps it."""
    mp.spawn(_process, (str(tiny_index), str(tiny_regions), str(tmp_path)), nprocs=2)
    run = tmp_path / "run"
    assert [row.get("skipped_steps", 0) for row in read_metrics(run)] == [0, 1, 0]
    store = CheckpointStore(run)
    newest = store.find().newest
    assert newest is not None
    state = store.read(newest)
    assert non_finite(state) == set()
    assert [int(own["buffers"]["step"]) for own in state["ranks"]] == [2, 2]
    assert all(bool(torch.isfinite(t).all()) for own in state["ranks"] for t in own["buffers"].values())
    assert read_failure(run / "failure").rank == 1
