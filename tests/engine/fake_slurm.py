"""`srun` and `scontrol` for a test: the tasks of a job are processes of this machine.

It knows the flags that the scripts of tools/slurm use and no other. SLURM_NTASKS and SLURM_NTASKS_PER_NODE
say how many tasks there are, and how many of them a node has. `scontrol requeue` writes to the file REQUEUED.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path


def srun(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="srun", allow_abbrev=False)
    parser.add_argument("--kill-on-bad-exit", type=int, choices=[0, 1])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args(arguments)
    tasks, each = int(os.environ["SLURM_NTASKS"]), int(os.environ["SLURM_NTASKS_PER_NODE"])
    running = []
    for task in range(tasks):
        own = {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task % each)}
        running.append(subprocess.Popen(args.command, env={**os.environ, **own}))
    codes = [process.wait() for process in running]
    return max(codes)


def scontrol(arguments: list[str]) -> int:
    if arguments[:2] == ["show", "hostnames"] and arguments[2:] == [os.environ["SLURM_JOB_NODELIST"]]:
        print("127.0.0.1\nsecond-host")
        return 0
    if arguments == ["requeue", os.environ["SLURM_JOB_ID"]]:
        Path(os.environ["REQUEUED"]).touch()
        return 0
    print(f"scontrol knows no {arguments}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit({"srun": srun, "scontrol": scontrol}[sys.argv[1]](sys.argv[2:]))
