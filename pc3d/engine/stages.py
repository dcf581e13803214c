"""Pretraining in several stages as one run: each stage starts from the weights of an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from pc3d.engine.config import plain
from pc3d.engine.model_card import write_card
from pc3d.engine.runs.folder import (
    FINISHED,
    RUN,
    empty,
    mark_finished,
    read_marker,
    refuse_occupied,
    refuse_other_kind,
)
from pc3d.engine.runs.lock import RunLock
from pc3d.engine.runs.ranks import on_first
from pc3d.engine.runs.run import Mode
from pc3d.engine.runs.signals import STOPS
from pc3d.engine.settings.options import merged
from pc3d.engine.training import write_run_folder
from pc3d.storage.whole import write_bytes, write_json


def stage_configs(config: Config, work_dir: Path | None = None) -> dict[str, Config]:
    """The config of each stage, by its name, in order.

    With `work_dir`, `init.run` is the folder below it of the stage that a stage starts from.

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
        before = (settings.get("init") or {}).get("stage")
        if before is not None:
            if before not in stages:
                raise ValueError(f"stage {name} starts from stage {before!r}, which is not before it")
            if work_dir is not None:
                settings["init"]["run"] = str(work_dir / before)
        stages[name] = Config(merged(shared, settings))
    return stages


def run_stages(config: Config, work_dir: Path, mode: Mode, run: Callable[[Config, Path, Mode], Path]) -> Path:
    """Run the stages one after the other, then lay the last one's weights into `work_dir`.

    With `resume`, a stage that is finished with the same settings, after others that are, is not run again,
    and an unfinished one goes on where it stopped.

    Raises:
        DataError: the folder holds a run and neither `resume` nor `overwrite` is asked for, or another kind.
    """
    stages = stage_configs(config, work_dir)
    lock = RunLock(work_dir, mode.take_over)
    mode = replace(mode, part_of=work_dir)
    with ExitStack() as stack:
        stack.enter_context(STOPS.installed())
        on_first(lambda: _prepare(stack, lock, work_dir, list(stages), mode))
        for name, stage in stages.items():
            before = on_first(lambda folder=work_dir / name: _marker_text(folder))  # type: ignore[misc]
            run(stage, work_dir / name, mode)
            if on_first(lambda folder=work_dir / name: _marker_text(folder)) != before:  # type: ignore[misc]
                # What follows starts from other weights now.
                mode = replace(mode, resume=True, overwrite=True)
        write_run_folder(work_dir, config)
        on_first(lambda: _collect(work_dir / name, work_dir))
    return work_dir / "backbone.safetensors"


def _prepare(stack: ExitStack, lock: RunLock, work_dir: Path, names: list[str], mode: Mode) -> None:
    stack.enter_context(lock)
    folders = [work_dir, *(work_dir / name for name in names)]
    for folder in folders:
        if not (mode.resume or mode.overwrite):
            refuse_occupied(folder)
        if not mode.resume and folder.is_dir():
            empty(folder)
    if mode.resume:
        refuse_other_kind(work_dir, names)
    if not (work_dir / RUN).exists():
        write_json(work_dir / RUN, {"format": 2, "stages": names})


def _marker_text(folder: Path) -> str | None:
    marker = folder / FINISHED
    return marker.read_text() if marker.exists() else None


def _collect(last: Path, work_dir: Path) -> None:
    """Copy the last stage's weights up, then mark the whole as finished."""
    marker = read_marker(last)
    assert marker is not None
    files = []
    for name in marker["files"]:
        write_bytes(work_dir / name, (last / name).read_bytes())
        files.append(work_dir / name)
    write_card(work_dir, files, marker["contract"], last)
    mark_finished(work_dir, marker["contract"], marker["iterations"], files)
