"""Pretraining in several stages as one run: each stage starts from the weights of an earlier one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, get_rank

from pc3d.engine.config import plain
from pc3d.engine.training import write_run_folder


def stage_configs(config: Config, work_dir: Path) -> dict[str, Config]:
    """The config of each stage, by its name, in order.

    A stage is a dict with `name`, and settings over those that all stages share; its `init.stage` names the
    earlier stage whose run it starts from. `objectives` of a stage stand alone.

    Raises:
        ValueError: a stage without a name of its own, or an `init.stage` that is not before it.
    """
    stages: dict[str, Config] = {}
    for settings in plain(config.stages):
        name = settings.pop("name", None)
        if not name or name in stages:
            raise ValueError(f"each stage needs a name of its own, got {name!r}")
        shared: dict[str, Any] = {k: v for k, v in plain(config).items() if k not in ("stages", "objectives")}
        before = settings.get("init", {}).get("stage")
        if before is not None:
            if before not in stages:
                raise ValueError(f"stage {name} starts from stage {before!r}, which is not before it")
            settings["init"]["run"] = str(work_dir / before)
        stage = Config(shared)
        stage.merge_from_dict(settings)
        stages[name] = stage
    return stages


def run_stages(
    config: Config, work_dir: Path, resume: bool, run: Callable[[Config, Path, bool], Path]
) -> Path:
    """Run what is missing of the stages, then lay the last one's weights into `work_dir`.

    A stage that is finished with the same settings, after others that are, is not run again; with
    `resume` an unfinished one goes on where it stopped.
    """
    last = work_dir
    kept = True
    for name, stage in stage_configs(config, work_dir).items():
        last = work_dir / name
        done = kept and is_finished(last, stage)
        barrier()  # all processes have looked before the first one writes
        if not done:
            run(stage, last, resume and kept)
            kept = False  # what follows starts from other weights now
        barrier()  # the weights that the next stage reads are there
    write_run_folder(work_dir, config)
    if get_rank() == 0:
        for path in last.glob("*.safetensors"):
            shutil.copyfile(path, work_dir / path.name)
    return work_dir / "backbone.safetensors"


def is_finished(folder: Path, config: Config) -> bool:
    """Whether a run folder holds the weights of this very config: with other settings it is another run."""
    written = folder / "config.py"
    weights = folder / "backbone.safetensors"
    return weights.is_file() and written.is_file() and written.read_text() == config.pretty_text
