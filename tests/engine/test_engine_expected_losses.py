"""Each `sim` config says what its first five steps on the `tiny` drive lose; a change that moves it shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from engine_configs import CONFIGS, read_metrics

from pc3d.engine.config import load_config
from pc3d.engine.pretrainer import pretrain
from pc3d.engine.stages import stage_configs

SYSTEMS = sorted(path.stem for path in (CONFIGS / "pretrain").glob("sim_*.py"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_first_five_losses_are_those_of_the_config(
    name: str, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    settings = {
        "data.index": str(tiny_index),
        "data.regions": str(tiny_regions),
        "data.workers": 0,
        "schedule.iterations": 5,
        "runtime.log_every": 1,
        "runtime.log_level": "WARNING",
    }
    config = load_config(CONFIGS / f"pretrain/{name}.py", "pretrain", settings)
    pretrain(config, tmp_path)
    runs = {"": config} if not config.get("stages") else stage_configs(config, tmp_path)
    for stage, of_stage in runs.items():
        losses = [row["loss"] for row in read_metrics(tmp_path / stage)]
        assert losses == pytest.approx(list(of_stage.expected_losses), rel=1e-3), (name, stage, losses)
