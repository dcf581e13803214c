"""What the trials of runs share: a small run, ends like a kill, and how a command ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from engine_configs import pretrain_config
from mmengine.config import Config

from pc3d.data.batch import Batch
from pc3d.engine.command_line import run_command
from pc3d.engine.loop import StreamTrainLoop

SMALL = {"objectives.prc.num_region_points": 64, "objectives.prc.num_background_points": 64}


class Killed(BaseException):
    """Stands for the end of the process."""


def prc(index: Path, regions: Path, iterations: int = 2, **more: Any) -> Config:
    """A narrow `sim_prc`: 0.1 s a step."""
    return pretrain_config(index, regions, iterations, "sim_prc", **{**SMALL, **more})


@contextmanager
def before_steps(do: Callable[[StreamTrainLoop, Batch], object]) -> Iterator[None]:
    """Do something before each step of a run in this block; `loop.iter` counts them from 0."""
    run_iter = StreamTrainLoop.run_iter

    def changed(loop: StreamTrainLoop, batches: list[Batch]) -> None:
        do(loop, batches[0])
        run_iter(loop, batches)

    with patch.object(StreamTrainLoop, "run_iter", changed):
        yield


def before_step(number: int, do: Callable[[StreamTrainLoop, Batch], object]) -> AbstractContextManager[None]:
    """Do something before step `number`, from 0."""
    return before_steps(lambda loop, batch: do(loop, batch) if loop.iter == number else None)


def killed_at(step: int, command: Callable[[], object]) -> None:
    """Run a command that is killed in a step, from 0."""

    def kill(loop: StreamTrainLoop, batch: Batch) -> None:
        raise Killed

    with before_step(step, kill), pytest.raises(Killed):
        command()


def ended(command: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and message of a command, as its command line ends."""
    capsys.readouterr()
    try:
        run_command(lambda: (command(), None)[1])
    except SystemExit as end:
        return int(end.code or 0), capsys.readouterr().err
    return 0, capsys.readouterr().err


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Content and time of all files below a folder."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}
