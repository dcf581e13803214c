"""Each `sim` config says what its first five steps on the `tiny` drive lose; a change that moves it shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from engine_configs import CONFIGS, marked, read_metrics
from mmengine.config import Config
from mmengine.hooks import Hook

from pc3d.engine import training
from pc3d.engine.config import load_config, plain
from pc3d.engine.pretrainer import objective_needs, pretrain
from pc3d.engine.stages import stage_configs

SYSTEMS = sorted(path.stem for path in (CONFIGS / "pretrain").glob("sim_*.py"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Enough(Exception):
    """The steps that are looked at are done."""


class StopAfter(Hook):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.steps:
            raise Enough


def five_steps(name: str, index: Path, regions: Path) -> Config:
    settings = {
        "data.index": str(index),
        "data.regions": str(regions),
        "data.workers": 0,
        "schedule.iterations": 5,
        "runtime.log_every": 1,
        "runtime.log_level": "WARNING",
    }
    return load_config(CONFIGS / f"pretrain/{name}.py", "pretrain", settings)


def tolerance(config: Config) -> float:
    """Relative; larger where ids come from k-means of a teacher's features, whose ties rounding decides."""
    kmeans = not (config.data.get("semantic_params") or {}).get("source")
    reads = objective_needs(plain(config.objectives)).semantics
    return 0.05 if reads and kmeans else 1e-3


@pytest.mark.parametrize("name", marked(SYSTEMS))
def test_the_first_two_losses_are_those_of_the_config(
    name: str, tiny_index: Path, tiny_regions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first stage, where there are several."""
    config = five_steps(name, tiny_index, tiny_regions)
    if config.get("stages"):
        config = next(iter(stage_configs(config).values()))
    monkeypatch.setattr(training, "WeightsHook", lambda *args: StopAfter(2))
    with pytest.raises(Enough):
        pretrain(config, tmp_path)
    losses = [row["loss"] for row in read_metrics(tmp_path)]
    assert losses == pytest.approx(list(config.expected_losses[:2]), rel=tolerance(config)), (name, losses)


@pytest.mark.long
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_first_five_losses_are_those_of_the_config(
    name: str, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    config = five_steps(name, tiny_index, tiny_regions)
    pretrain(config, tmp_path)
    runs = {"": config} if not config.get("stages") else stage_configs(config)
    for stage, of_stage in runs.items():
        losses = [row["loss"] for row in read_metrics(tmp_path / stage)]
        assert losses == pytest.approx(list(of_stage.expected_losses), rel=tolerance(of_stage)), (
            name,
            stage,
            losses,
        )
