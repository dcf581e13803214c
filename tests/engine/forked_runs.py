"""Trainings as processes of their own, some of them killed with SIGKILL at a given point.

    python forked_runs.py JOBS

JOBS: JSON, a list of the fields of `Job`. Everything is imported once, then each process is forked.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from disk_trials import DISK_CALLS

from pc3d.storage import disk


@dataclass(frozen=True)
class Job:
    """A training.

    Attributes:
        config: file of its config. run: its folder; what it prints is in `RUN.log`, its calls of the disk are
            in `RUN.calls`.
        kind: `pretrain` or `finetune`. ranks: processes.
        in_step: killed in this step, from 0, when its gradients are there (the last rank).
        at_call: killed at this call of the disk, from 0 (the first rank); a write is half done.
        at_name: killed at the first call of this name (`rename`, ...) for this file: "rename iter_4.pth".
        tokens: what each process has read is in `RUN.tokens.RANK`, a line a step.
    """

    config: str
    run: str
    kind: str = "pretrain"
    ranks: int = 1
    resume: bool = False
    in_step: int | None = None
    at_call: int | None = None
    at_name: str | None = None
    tokens: bool = False

    @property
    def killed(self) -> bool:
        return any(point is not None for point in (self.in_step, self.at_call, self.at_name))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_step(step: int) -> None:
    from pc3d.engine.loop import StreamTrainLoop
    from pc3d.engine.optimization import GuardedOptimWrapper

    run_iter, optimize, now = StreamTrainLoop.run_iter, GuardedOptimWrapper.step, -1

    def counted(loop: StreamTrainLoop, batches: Any) -> None:
        nonlocal now
        now = loop.iter
        run_iter(loop, batches)

    def dying(wrapper: GuardedOptimWrapper, **more: Any) -> None:
        if now == step:
            die()
        optimize(wrapper, **more)

    StreamTrainLoop.run_iter, GuardedOptimWrapper.step = counted, dying  # type: ignore[method-assign]


def write_tokens(path: Path) -> None:
    from pc3d.engine.loop import StreamTrainLoop

    run_iter = StreamTrainLoop.run_iter

    def written(loop: StreamTrainLoop, batches: Any) -> None:
        with path.open("a") as file:
            file.writelines(f"{loop.iter} {' '.join(batch.tokens)}\n" for batch in batches)
        run_iter(loop, batches)

    StreamTrainLoop.run_iter = written  # type: ignore[method-assign]


def watch_disk(job: Job) -> None:
    """Write each call of the disk down, and die at one of them."""
    log = Path(f"{job.run}.calls").open("w", buffering=1)  # noqa: SIM115  # as long as the process
    done = 0

    def watched(name: str) -> Any:
        original = getattr(disk, name)

        def call(*args: Any) -> Any:
            nonlocal done
            what = f"{name} {getattr(args[-1], 'name', '')}"  # of a file and of a path
            if done == job.at_call or what == job.at_name:
                if name == "write":
                    original(args[0], args[1][: len(args[1]) // 2])
                die()
            done += 1
            log.write(f"{what}\n")
            return original(*args)

        return call

    for name in DISK_CALLS:
        setattr(disk, name, watched(name))


def train(job: Job, rank: int, port: int) -> None:
    from mmengine.config import Config

    from pc3d.engine.finetuner import finetune
    from pc3d.engine.pretrainer import pretrain

    log = os.open(f"{job.run}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    config = Config.fromfile(job.config)
    if job.ranks > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(job.ranks))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        config.launcher = "pytorch"
    if rank == 0:
        watch_disk(job)
    if rank == job.ranks - 1 and job.in_step is not None:
        die_in_step(job.in_step)
    if job.tokens:
        write_tokens(Path(f"{job.run}.tokens.{rank}"))
    {"pretrain": pretrain, "finetune": finetune}[job.kind](config, Path(job.run), resume=job.resume)


def forked(job: Job, rank: int, port: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        train(job, rank, port)
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    sys.stdout.flush()
    os._exit(code)


def run_job(job: Job) -> None:
    """Run the processes of a job; when one of them fails, the others are killed, as torchrun has it.

    Raises:
        RuntimeError: it was not killed, or ended with an error.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    there = {forked(job, rank, port) for rank in range(job.ranks)}
    ends = []
    while there:
        pid, status = os.wait()
        there.discard(pid)
        ends.append(os.waitstatus_to_exitcode(status))
        for other in there if ends[-1] else ():
            os.kill(other, signal.SIGKILL)
    if (ends[0] == -signal.SIGKILL) != job.killed or (any(ends) and not job.killed):
        raise RuntimeError(f"{job} ended with {ends}:\n{Path(f'{job.run}.log').read_text()[-2000:]}")


def run_jobs(folder: Path, jobs: list[Job], timeout: float = 300) -> None:
    """Run jobs one after the other, for a test."""
    (folder / "jobs.json").write_text(json.dumps([asdict(job) for job in jobs]))
    command = [sys.executable, __file__, str(folder / "jobs.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-4000:]


def import_everything() -> None:
    """What a training imports late, too: half of the time of a short one."""
    late = ("spconv.pytorch", "torch._dynamo", "torch.utils.tensorboard", "matplotlib.pyplot", "numba")
    for name in ("pc3d.engine.finetuner", "pc3d.engine.pretrainer", *late):
        importlib.import_module(name)


def main() -> None:
    import_everything()
    for fields in json.loads(Path(sys.argv[1]).read_text()):
        run_job(Job(**fields))


if __name__ == "__main__":
    main()
