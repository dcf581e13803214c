"""What may change when a run is gone on with: the rest stops and names its key."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_configs import read_metrics
from mmengine.config import Config
from run_trials import before_steps, ended, files, prc

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.samplers import StreamSampler
from pc3d.data.splits import write_tokens
from pc3d.engine.command_line import start_options, training_parser
from pc3d.engine.config import plain
from pc3d.engine.data import build_dataset
from pc3d.engine.optimization import learning_rate
from pc3d.engine.pretrainer import objective_needs, pretrain
from pc3d.engine.runs.contract import LENGTH, Contract, part_hashes
from pc3d.engine.runs.folder import Start, begin
from pc3d.engine.runs.settings import run_contract
from pc3d.engine.runs.store import CheckpointStore

ONE_VIEW = {"rotation": (-1.0, 1.0), "scale": (0.9, 1.1), "flip": 0.5}
STOPS: dict[str, tuple[Any, str]] = {
    "optimizer.lr": (1e-3, "optimizer.lr"),
    "optimizer.type": ("SGD", "optimizer.type"),
    "optimizer.clip_norm": (1.0, "optimizer.clip_norm"),
    "schedule.kind": ("constant", "schedule.kind"),
    "schedule.warmup": (0.5, "schedule.warmup"),
    "data.batch_size": (3, "data.batch_size"),
    "data.split": ("sim_val", "data.split"),
    "data.fraction": (50, "data.frames"),
    "data.augmentation": (ONE_VIEW, "data.augmentation.0.rotation"),
    "objectives.prc.weight": (0.5, "objectives.prc.weight"),
    "objectives.prc.temperature": (0.5, "objectives.prc.temperature"),
    "lidar.widths": ((8,) * 8, "lidar.widths"),
    "lidar.voxel_size": ((0.4, 0.4, 0.4), "lidar.voxel_size"),
    "runtime.precision": ("bfloat16", "runtime.precision"),
    "seed": (1, "seed"),
}
"""A change by its setting, and the key that the message names."""
GOES_ON: dict[str, Any] = {
    "data.workers": 2,
    "runtime.log_every": 7,
    "runtime.save_every": 3,
    "runtime.save_minutes": 1,
    "runtime.log_level": "ERROR",
    "runtime.keep_checkpoints": 5,
    "runtime.gradients_every": 0,
    "schedule.iterations": 8,
    "optimizer.eps": 1e-8,
    "optimizer.betas": (0.9, 0.999),
    "objectives.prc.weight": 1,
    "lidar.depth": 18,
    "lidar.point_range": (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0),
    "data.repeat": 1,
    "data.image_flip": 0,
    "data.fraction_rule": "auto",
    "data.fraction_draw": 0,
    "schedule.kind": "one_cycle",
}
"""What changes nothing of the weights after a number of steps, and defaults that are written out."""


def contract_of(config: Config) -> Contract:
    data = build_dataset(plain(config.data), objective_needs(plain(config.objectives)), config.seed)
    return run_contract(config, data, config.schedule.iterations, 1)


@pytest.fixture
def store(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> CheckpointStore:
    """Of a run of 4 steps that has done 2, without its weights."""
    begun = CheckpointStore(tmp_path / "run")
    begun.folder.mkdir()
    begun.save({"model": {"w": torch.ones(1)}}, 2, 4, contract_of(prc(tiny_index, tiny_regions, 4)))
    return begun


def gone_on(store: CheckpointStore, config: Config, *allowed: str) -> Start:
    return begin(store, contract_of(config), resume=True, allowed=allowed)


@pytest.mark.parametrize("setting", STOPS)
def test_a_change_stops_and_names_its_key(
    store: CheckpointStore,
    tiny_index: Path,
    tiny_regions: Path,
    setting: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    value, key = STOPS[setting]
    other, before = prc(tiny_index, tiny_regions, 4, **{setting: value}), files(store.folder)
    code, message = ended(lambda: gone_on(store, other), capsys)
    assert code == 2
    assert f"\n    {key}: " in message
    assert f"--allow-change {key}" in message or f" {key}" in message.split("--allow-change")[1]
    assert files(store.folder) == before
    section = key.split(".")[0]
    assert gone_on(store, other, section).checkpoint is not None
    then, now = (part_hashes(contract) for contract in (_contract(store), contract_of(other)))
    assert [part for part in then if then[part] != now[part]] == [section]


def _contract(store: CheckpointStore) -> Contract:
    newest = store.find().newest
    assert newest is not None
    assert newest.contract is not None
    return newest.contract


@pytest.mark.parametrize("setting", GOES_ON)
def test_what_goes_on(store: CheckpointStore, tiny_index: Path, tiny_regions: Path, setting: str) -> None:
    config = prc(tiny_index, tiny_regions, 4)
    config.merge_from_dict({setting: GOES_ON[setting]})
    start = gone_on(store, config)
    assert start.checkpoint is not None
    assert (start.checkpoint.step, start.changed) == (2, ())


def test_data_that_were_moved(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    """Index, regions and token list count by their content."""
    index = SweepIndex.open(tiny_index)
    tokens = [index[row].token for row in index.key_rows("sim_train").tolist()]
    write_tokens(tmp_path / "tokens.txt", tokens[:3], "the test")
    shutil.copytree(tiny_index, tmp_path / "there/index")
    shutil.copytree(tiny_regions, tmp_path / "there/regions")
    shutil.copy(tmp_path / "tokens.txt", tmp_path / "there/list")
    listed: dict[str, Any] = {"data.split": None, "data.tokens": str(tmp_path / "tokens.txt")}
    then = contract_of(prc(tiny_index, tiny_regions, **listed))
    listed["data.tokens"] = str(tmp_path / "there/list")
    assert contract_of(prc(tmp_path / "there/index", tmp_path / "there/regions", **listed)) == then
    write_tokens(tmp_path / "there/list", tokens[1:4], "the test")
    now = contract_of(prc(tiny_index, tiny_regions, **listed))
    assert {key for key in now if now[key] != then[key]} == {"data.frames", "data.tokens"}


def test_an_index_of_other_content(
    store: CheckpointStore, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    """Same settings, same frames, but each sweep is a microsecond later."""
    index = SweepIndex.open(tiny_index)
    metadata = {key: index.metadata[key] for key in ("dataset", "root", "rebuild", "classes")}
    moved = (replace(index[row], timestamp=index[row].timestamp + 1) for row in range(len(index)))
    write_index(tmp_path / "index", moved, metadata)
    with pytest.raises(DataError, match=r"data\.index: \"content \w+\" then, \"content \w+\" now"):
        gone_on(store, prc(tmp_path / "index", tiny_regions, 4))


def test_other_ranks_and_fewer_steps(store: CheckpointStore, tiny_index: Path, tiny_regions: Path) -> None:
    contract = _contract(store)
    with pytest.raises(DataError, match="ranks: 1 then, 2 now"):
        begin(store, {**contract, "ranks": 2}, resume=True)
    for steps, message in ((3, r"schedule\.iterations: 4 then, 3 now"), (1, r"schedule\.iterations")):
        with pytest.raises(DataError, match=message):
            begin(store, {**contract, LENGTH: steps}, resume=True)
    with pytest.raises(DataError, match="has done 2 steps, more than the 1 asked for"):
        begin(store, {**contract, LENGTH: 1}, resume=True, allowed=[LENGTH])


def test_allowed_keys_are_checked(store: CheckpointStore) -> None:
    contract = _contract(store)
    with pytest.raises(DataError, match=r"optimizer\.rate: no such setting[\s\S]*known: data, "):
        begin(store, contract, resume=True, allowed=["optimizer.rate"])
    parser = training_parser("", "")
    asked = ["config.py", "--allow-change", "seed"]
    assert start_options(parser.parse_args([*asked, "--resume"]))["allow_change"] == ["seed"]
    with pytest.raises(ValueError, match="goes with --resume"):
        start_options(parser.parse_args(asked))


@pytest.fixture(scope="module")
def half(tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 2 steps."""
    run = tmp_path_factory.mktemp("contract") / "half"
    pretrain(prc(tiny_index, tiny_regions, 2), run)
    return run


@pytest.mark.parametrize("rate", [5e-4, pytest.param(2e-3, marks=pytest.mark.long)])
def test_rates_are_those_of_the_new_length_and_the_new_rate(
    half: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path, rate: float
) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))
    config = prc(tiny_index, tiny_regions, 5, **{"optimizer.lr": rate})
    allowed = () if rate == 2e-3 else ("optimizer.lr",)
    pretrain(config, run, resume=True, allow_change=allowed)
    rates = [row["lr"] for row in read_metrics(run)]
    then = [2e-3 * learning_rate("one_cycle", step, 2, 0.2) for step in range(2)]
    now = [rate * learning_rate("one_cycle", step, 5, 0.2) for step in range(2, 5)]
    np.testing.assert_allclose(rates, then + now, rtol=1e-6)


def test_the_stream_goes_on_at_its_sample(
    half: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    """With another batch size no frame is left out, and none is read twice."""
    run = Path(shutil.copytree(half, tmp_path / "run"))
    seen: list[str] = []
    config = prc(tiny_index, tiny_regions, 4, **{"data.batch_size": 1})
    with before_steps(lambda loop, batch: seen.extend(batch.tokens)):
        pretrain(config, run, resume=True, allow_change=("data.batch_size",))
    index = SweepIndex.open(tiny_index)
    rows = index.key_rows("sim_train").tolist()
    stream = [position for _, position in islice(StreamSampler(len(rows), config.seed), 6)]
    assert seen == [index[rows[position]].token for position in stream[4:]]
    newest = CheckpointStore(run).find().newest
    assert newest is not None
    assert (newest.step, newest.samples) == (4, 6)
