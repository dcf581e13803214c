"""A training that looks at its own memory and handles, as a process of its own.

    python soak_run.py CONFIG RUN REPORT [EVERY]

REPORT: JSON with `samples` (step, resident bytes of the process and of its workers, open handles of each),
and `left`: child processes after the end.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from pc3d.data.batch import Batch
from pc3d.engine.loop import StreamTrainLoop
from pc3d.engine.pretrainer import pretrain


def children(parent: int) -> Iterator[int]:
    """Processes that a process started and that are there, dead ones too."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[1]) == parent:
            yield int(folder.name)


def resident(pid: int) -> int:
    """Bytes of a process's memory that are its own: a worker's shared pages are the run's."""
    status = Path(f"/proc/{pid}/status").read_text()
    values = dict(line.split(":", 1) for line in status.splitlines())
    return 1024 * (int(values["RssAnon"].split()[0]) + int(values["RssShmem"].split()[0]))


def handles(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def main() -> None:
    config, run, report = Config.fromfile(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    every = int(sys.argv[4]) if len(sys.argv) > 4 else 50
    samples: list[dict[str, Any]] = []
    run_iter = StreamTrainLoop.run_iter

    def looked_at(loop: StreamTrainLoop, batch: Batch) -> None:
        run_iter(loop, batch)
        if loop.iter % every == 0:
            workers = [process.pid for process in multiprocessing.active_children() if process.pid]
            pids = [os.getpid(), *sorted(workers)]
            memory, open_ = [resident(pid) for pid in pids], [handles(pid) for pid in pids]
            samples.append({"step": loop.iter, "resident": memory, "handles": open_})
            report.with_suffix(".part").write_text(json.dumps(samples))

    StreamTrainLoop.run_iter = looked_at  # type: ignore[method-assign]
    pretrain(config, run)
    left = list(children(os.getpid()))
    report.write_text(json.dumps({"samples": samples, "left": left, "handles": handles(os.getpid())}))


if __name__ == "__main__":
    main()
