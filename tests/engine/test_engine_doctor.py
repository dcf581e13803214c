"""What the doctor says of a run folder and of the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pc3d.data.errors import DataError
from pc3d.engine.runs import doctor_environment
from pc3d.engine.runs.doctor import examine_run
from pc3d.engine.runs.doctor_cards import check_cards
from pc3d.engine.runs.doctor_environment import check_child, check_compiled_code, check_disk, check_versions
from pc3d.engine.runs.doctor_kernels import check_sparse
from pc3d.engine.runs.folder import RUN, mark_finished
from pc3d.engine.runs.lock import RunLock
from pc3d.engine.runs.store import CheckpointStore
from pc3d.findings import Finding, looked_at, report
from pc3d.storage.whole import write_json

TOOL = Path(__file__).resolve().parents[2] / "tools" / "doctor.py"
CONTRACT = {"schedule.iterations": 6, "seed": 0}


def make_run(folder: Path, steps: tuple[int, ...] = (2, 4), finished: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RUN, {"format": 2, "contract": CONTRACT})
    store = CheckpointStore(folder)
    for step in steps:
        store.save({"state_dict": {"w": torch.full((50,), float(step))}}, step, 2 * step, CONTRACT)
    (folder / "metrics.jsonl").write_text("".join(f'{{"step": {step}}}\n' for step in steps))
    if finished:
        (folder / "backbone.safetensors").write_bytes(b"weights")
        mark_finished(folder, CONTRACT, 6, [folder / "backbone.safetensors"])
    return folder


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_run_that_was_begun(tmp_path: Path) -> None:
    found = by_name(examine_run(make_run(tmp_path)))
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["lock"].text == "free: no run writes here"
    assert found["--resume"].text == "goes on from step 4 of 6 (iter_4.pth)"
    assert found["iter_2.pth"].text == "whole, step 2"
    assert report(found.values()) == 0


def test_a_finished_run(tmp_path: Path) -> None:
    found = by_name(examine_run(make_run(tmp_path, finished=True)))
    assert found["finished"].text == "after 6 steps; whole: backbone.safetensors"
    assert "finished" in found["--resume"].text
    flip(tmp_path / "backbone.safetensors")
    found = by_name(examine_run(tmp_path))
    assert found["finished"].state == "problem"
    assert found["--resume"].text.startswith("goes on from step 4")
    assert report(found.values()) == 1


def test_broken_checkpoints(tmp_path: Path) -> None:
    make_run(tmp_path)
    flip(tmp_path / "iter_4.pth")
    found = by_name(examine_run(tmp_path))
    assert found["iter_4.pth"].state == "warning"
    assert found["--resume"].text.startswith("goes on from step 2")
    flip(tmp_path / "iter_2.pth")
    found = by_name(examine_run(tmp_path))
    assert found["--resume"].state == "problem"
    assert "--overwrite" in found["--resume"].remedy


def test_stages(tmp_path: Path) -> None:
    make_run(tmp_path / "prc", finished=True)
    make_run(tmp_path / "sim_calico", steps=(2,))
    (tmp_path / "evaluation").mkdir()
    found = by_name(examine_run(tmp_path))
    assert "finished" in found["prc/--resume"].text
    assert found["sim_calico/--resume"].text.startswith("goes on from step 2")
    assert "stage" in found["--resume"].text
    leave(tmp_path, 2**22 + 1)
    with RunLock(tmp_path / "sim_calico"):
        found = by_name(examine_run(tmp_path))
        assert "held by" in found["lock"].text
        assert "not removed" in found["leftovers"].text
    assert "removed" in by_name(examine_run(tmp_path))["leftovers"].text


def test_nothing_or_a_half_written_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run"):
        examine_run(tmp_path)
    make_run(tmp_path, steps=())
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    found = by_name(examine_run(tmp_path))
    assert found["--resume"].text.startswith("starts at the first step")
    assert found["metrics.jsonl"].state == "warning"


def leave(folder: Path, pid: int) -> list[Path]:
    """What writers of another process leave when they are killed, and a checkpoint that was set aside."""
    host = os.uname().nodename
    file = folder / f".iter_6.pth.{host}-{pid}-1-1.partial"
    inside = folder / "evaluation" / f".metrics.json.{host}-{pid}-1-2.partial"
    aside = folder / "iter_3.pth.broken"
    inside.parent.mkdir(exist_ok=True)
    for path in (file, inside, aside):
        path.write_bytes(b"half")
    return [file, inside, aside]


def test_leftovers_go_when_no_run_writes(tmp_path: Path) -> None:
    make_run(tmp_path)
    child = subprocess.Popen(["true"])
    child.wait()
    paths = leave(tmp_path, child.pid)
    living = tmp_path / f".iter_8.pth.{os.uname().nodename}-{os.getppid()}-1-1.partial"
    living.touch()
    found = by_name(examine_run(tmp_path, clean=False))["leftovers"]
    assert found.state == "warning"
    with RunLock(tmp_path):
        findings = by_name(examine_run(tmp_path))
        assert f"process {os.getpid()}" in findings["lock"].text
        assert findings["leftovers"].state == "warning"
        assert all(path.exists() for path in paths)
    found = by_name(examine_run(tmp_path))["leftovers"]
    assert all(path.name in found.text for path in paths)
    assert not any(path.exists() for path in paths)
    assert living.exists()
    assert by_name(examine_run(tmp_path))["leftovers"].text == "none"


def test_the_last_of_a_run_is_kept(tmp_path: Path) -> None:
    """Where no checkpoint is whole, one that was set aside may be all that there is."""
    make_run(tmp_path, steps=())
    aside = leave(tmp_path, os.getpid())[-1]
    examine_run(tmp_path)
    assert aside.exists()


def test_a_look_that_fails_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Finding:
        raise RuntimeError("no such\nlibrary")

    found = looked_at("spconv", broken)
    assert found.state == "problem"
    assert report([found], as_json=True) == 1
    assert json.loads(capsys.readouterr().out)[0]["text"] == "RuntimeError: no such library"
    assert "\n" not in found.line()


def test_spconv_here() -> None:
    assert "equal a dense convolution" in check_sparse()


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_versions().state == "ok"
    versions: dict[str, str | None] = {"numpy": "2.1.0", "mmengine": None}
    real = doctor_environment._version
    monkeypatch.setattr(doctor_environment, "_version", lambda name: versions.get(name, real(name)))
    found = check_versions()
    assert found.state == "problem"
    assert "numpy<2,>=1.26 (2.1.0)" in found.text
    assert "mmengine==0.10.7 (not installed)" in found.text
    assert found.remedy.startswith("pip install ")


def test_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor_environment.check_shared_memory(tmp_path / "none").state == "warning"
    docker = SimpleNamespace(f_frsize=1, f_blocks=64_000_000, f_bavail=60_000_000)
    monkeypatch.setattr(os, "statvfs", lambda folder: docker)
    found = doctor_environment.check_shared_memory(tmp_path)
    assert found.text == "0.06 GB of 0.06 GB are free"
    assert "--shm-size=8g" in found.remedy
    assert "data.workers=0" in found.remedy


def test_processors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert doctor_environment._processors(tmp_path / "cpu.max") == 0.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert doctor_environment._processors(tmp_path / "cpu.max") >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert doctor_environment.check_processors().state == "warning"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert "PASSIVE" in doctor_environment.check_processors().remedy


def test_a_child_that_hangs_crashes_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no answer within 0 s" in check_child("pictures", "picture", 0.01).text
    command = {"code": ""}
    run = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda args, **options: run([sys.executable, "-c", command["code"]], **options)
    )
    command["code"] = "import os; os.kill(os.getpid(), 11)"
    found = check_child("spconv", "sparse", 60)
    assert (found.state, found.text) == ("problem", "the process ended with signal 11")
    command["code"] = "raise ImportError('no libEGL')"
    found = check_child("pictures", "picture", 60)
    assert (found.state, found.text) == ("warning", "ImportError: no libEGL")


def test_disk_and_compiled_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_compiled_code().state in ("ok", "warning")
    usage = SimpleNamespace(free=5e8)
    monkeypatch.setattr(doctor_environment.shutil, "disk_usage", lambda folder: usage)
    assert check_disk(tmp_path).state == "problem"


TORCH_CODE = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


@pytest.mark.parametrize(
    ("capability", "state", "says"),
    [
        ((7, 5), "ok", "torch and spconv have code"),
        ((8, 7), "ok", "torch and spconv have code"),  # runs the code for 8.6
        ((8, 9), "ok", "torch and spconv have code"),
        ((9, 0), "ok", "torch and spconv have code"),
        ((6, 1), "problem", "torch has no code for a card, of compute capability 6.1"),
        ((3, 7), "problem", "torch has no code"),
        ((10, 0), "warning", "spconv knows no card as new"),
        ((12, 1), "warning", "spconv knows no card as new"),
        ((13, 0), "warning", "torch knows no card as new"),
    ],
)
def test_cards(capability: tuple[int, int], state: str, says: str) -> None:
    found = check_cards([("another", 80.0, (8, 0)), ("a card", 24.0, capability)], TORCH_CODE)
    assert (found.state, says in found.text) == (state, True), found
    assert f"a card (24 GB, {capability[0]}.{capability[1]})" in found.text


@pytest.mark.long
def test_the_tool(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(TOOL), "--json"], capture_output=True, text=True)
    states = {finding["name"]: finding["state"] for finding in json.loads(done.stdout)}
    assert states["versions"] == states["spconv"] == "ok"
    assert done.returncode == int("problem" in states.values())
    make_run(tmp_path / "run")
    done = subprocess.run([sys.executable, str(TOOL), str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0
    assert "goes on from step 4" in done.stdout
    done = subprocess.run([sys.executable, str(TOOL), str(tmp_path / "none")], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no run" in done.stderr
