"""The scripts for several GPUs, run on CPUs: torchrun's as they are, Slurm's under a stand-in for Slurm."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine_configs import pretrain_config, read_metrics

from pc3d.engine.settings.sections import RUNTIME

REPOSITORY = Path(__file__).resolve().parents[2]
JOBS = {path.stem: path for path in sorted((REPOSITORY / "tools/slurm").glob("*.sbatch"))}
SHOWN = "echo $RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $*"


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """Environment of a job of two nodes with a task each."""
    for name in ("srun", "scontrol"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        fake = Path(__file__).with_name("fake_slurm.py")
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} {name} "$@"\n')
        program.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"JOB_ID": str(port - 20000), "JOB_NODELIST": "node[1-2]", "SUBMIT_DIR": str(REPOSITORY)}
    job |= {"NTASKS": "2", "NTASKS_PER_NODE": "1"}
    own = {"PYTHON": sys.executable, "REQUEUED": str(tmp_path / "requeued")}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **own, "PATH": path, **{f"SLURM_{key}": value for key, value in job.items()}}


def shell(*command: object, env: dict[str, str], code: int = 0) -> str:
    done = subprocess.run(
        ["bash", *map(str, command)], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def stand_in(env: dict[str, str], tmp_path: Path, text: str) -> None:
    """A program in place of Python."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    env["PYTHON"] = str(program)


def test_a_slurm_job_of_two_nodes_trains(
    slurm: dict[str, str], tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    config = pretrain_config(tiny_index, tiny_regions, 1, "sim_prc")
    (tmp_path / "config.py").write_text(config.pretty_text)
    arguments = ["pretrain", tmp_path / "config.py", "--work-dir", tmp_path / "run"]
    shell(JOBS["4_nodes"], *arguments, env=slurm)
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [1]
    assert not (tmp_path / "requeued").exists()
    checkpoint = torch.load(tmp_path / "run/iter_1.pth", weights_only=True)
    assert checkpoint["samples"] == 2 * config.data.batch_size  # of two processes in one step


@pytest.mark.parametrize("name", JOBS)
def test_what_a_job_asks_for(name: str) -> None:
    """A task for each GPU; a flag that Slurm does not know would end the job at once."""
    text = JOBS[name].read_text()
    flags = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))
    known = "job-name nodes ntasks-per-node gpus-per-node cpus-per-task time signal requeue open-mode output"
    assert flags.keys() == set(known.split())
    assert flags["ntasks-per-node"] == flags["gpus-per-node"]
    gpus = int(flags["nodes"]) * int(flags["gpus-per-node"])
    assert gpus == {"1_gpu": 1, "8_gpus": 8, "4_nodes": 32}[name]


def test_processes_know_their_places(slurm: dict[str, str], tmp_path: Path) -> None:
    stand_in(slurm, tmp_path, SHOWN)
    slurm |= {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2"}
    said = shell(JOBS["4_nodes"], "pretrain", "a config.py", env=slurm).splitlines()
    end = "127.0.0.1 -m pc3d pretrain a config.py --launcher pytorch --resume"
    assert sorted(said) == [f"{rank} {rank % 2} 4 {end}" for rank in range(4)]


def test_a_warned_job_comes_again_and_a_failed_one_does_not(slurm: dict[str, str], tmp_path: Path) -> None:
    stand_in(slurm, tmp_path, "exit 3")
    shell(JOBS["1_gpu"], "pretrain", "x", env=slurm, code=3)
    assert not (tmp_path / "requeued").exists()
    stand_in(slurm, tmp_path, "exit 138")
    shell(JOBS["1_gpu"], "pretrain", "x", env=slurm, code=138)
    assert (tmp_path / "requeued").exists()


@pytest.mark.parametrize("script", [REPOSITORY / "tools/torchrun.sh", JOBS["1_gpu"]])
def test_too_few_arguments(script: Path, slurm: dict[str, str]) -> None:
    assert "usage: " in shell(script, "pretrain", env=slurm, code=2)


def test_machines_without_slurm(tmp_path: Path) -> None:
    env = {**os.environ, "NODES": "4", "NODE": "2", "MASTER": "host:29500"}
    stand_in(env, tmp_path, "echo $*")
    said = shell(REPOSITORY / "tools/torchrun.sh", 8, "finetune", "x", env=env)
    where = "--nnodes 4 --node-rank 2 --master-addr host --master-port 29500"
    assert said.split("\n")[0] == (
        f"-m torch.distributed.run --nproc-per-node 8 {where} -m pc3d finetune x --launcher pytorch"
    )
    del env["MASTER"]
    assert "HOST:PORT" in shell(REPOSITORY / "tools/torchrun.sh", 8, "finetune", "x", env=env, code=1)


def test_the_page_names_every_runtime_setting_and_every_script() -> None:
    text = (REPOSITORY / "docs/train-on-gpus.md").read_text()
    lacking = [name for name in RUNTIME.members if f"`{name}" not in text and f"runtime.{name}" not in text]
    assert not lacking
    for path in [*JOBS.values(), *(REPOSITORY / "docker").iterdir(), REPOSITORY / "tools/torchrun.sh"]:
        assert str(path.relative_to(REPOSITORY)) in text, path


@pytest.mark.parametrize("image", ["cpu", "cuda"])
def test_an_image_copies_what_its_steps_read(image: str) -> None:
    """No image can be built here: what the build reads is there and not left out of its context."""
    text = (REPOSITORY / f"docker/{image}.Dockerfile").read_text()
    allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    assert all((REPOSITORY / name).exists() for name in allowed)
    scripts = re.findall(r"/src/(\S+\.sh)", text)
    assert scripts
    for name in [*scripts, "constraints.txt", "setup.py", "pyproject.toml", "README.md", "LICENSE"]:
        assert name.split("/")[0] in allowed, name
        assert (REPOSITORY / name).is_file()


@pytest.mark.long
def test_two_machines_with_torchrun(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    config = pretrain_config(tiny_index, tiny_regions, 1, "sim_prc")
    (tmp_path / "config.py").write_text(config.pretty_text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["bash", str(REPOSITORY / "tools/torchrun.sh"), "1", "pretrain", str(tmp_path / "config.py")]
    env = {**os.environ, "NODES": "2", "MASTER": master, "PYTHON": sys.executable}
    machines = [
        subprocess.Popen([*command, "--work-dir", str(tmp_path / "run")], env={**env, "NODE": str(node)})
        for node in range(2)
    ]
    assert [machine.wait(300) for machine in machines] == [0, 0]
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [1]
