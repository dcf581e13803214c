"""The benchmark for GPUs, as far as a CPU goes: pieces, table, two ranks, and that it finds what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pc3d.evaluation.gpu import operations, report
from pc3d.evaluation.gpu.ranks import two_ranks
from pc3d.evaluation.gpu.train_steps import Steps, half_losses, measure
from pc3d.storage.whole import read_json

CPU = torch.device("cpu")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_an_operation_that_differs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert operations.compare("segment mean", CPU).good
    plain, calls = operations._run, []

    def other(name: str, device: torch.device) -> Any:
        calls.append(name)
        out, gradients = plain(name, device)
        if len(calls) % 2:
            return out, gradients
        if name == "ball query":
            raise RuntimeError("no kernel image is available\nmore")
        return out, [
            g * (1.01 if name == "segment max" else 1) for g in gradients[: 1 if name != "voxelize" else 0]
        ]

    monkeypatch.setattr(operations, "_run", other)
    worse = operations.compare("segment max", CPU)
    assert worse.forward == 0
    assert worse.backward == pytest.approx(0.01, rel=0.1)
    assert not worse.good
    assert operations.compare("ball query", CPU).error == "RuntimeError: no kernel image is available"
    assert "gradients" in operations.compare("sparse convolutions", CPU).error


def test_pieces_are_done_once_and_failed_ones_again(tmp_path: Path) -> None:
    done: list[str] = []

    def work(name: str, fails: bool = False) -> Any:
        def piece() -> dict[str, Any]:
            done.append(name)
            if fails and done.count(name) == 1:
                raise ValueError("out of memory")
            return {"tflops": 1.0}

        return piece

    pieces = {"peak float32": work("a"), "peak bfloat16": work("b", fails=True)}
    assert not report.run_pieces(pieces, tmp_path, "card", minutes=-1, say=lambda _: None)
    assert done == []
    for _ in range(3):
        assert report.run_pieces(pieces, tmp_path, "card", say=lambda _: None)
    assert done == ["a", "b", "b"]
    assert read_json(tmp_path / "pieces/peak-bfloat16.json")["result"] == {"tflops": 1.0}
    report.run_pieces(pieces, tmp_path, "another card", say=lambda _: None)
    assert done[3:] == ["a", "b"]


def test_two_ranks_have_the_gradients_of_one() -> None:
    found = two_ranks("gloo")
    assert found["between ranks"] == 0
    assert found["from one process"] < 1e-5


def test_steps_are_measured_and_told(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    settings = {
        "data.index": str(tiny_index),
        "data.regions": str(tiny_regions),
        "data.workers": 0,
        "lidar.widths": (4,) * 8,
        "lidar.voxel_size": (1.0, 1.0, 1.0),
        "data.points": {"max_points": 1000},
    }
    path = CONFIGS / "pretrain/sim_prc.py"
    found = measure(Steps(path, settings, CPU), 1)
    assert found["samples_per_second"] == pytest.approx(2 / found["seconds"])
    assert found["dense_tflop"] > 0
    assert 0 < sum(kernel["share"] for kernel in found["kernels"]) <= 1
    halves = half_losses(path, settings, CPU, 2)
    assert halves["bfloat16"]["losses"] == pytest.approx(halves["float32"]["losses"], rel=0.05)
    pieces = {
        "operation voxelize": lambda: report._operation("voxelize", CPU),
        "peak float32": lambda: {"tflops": 1.0},
        "step pretrain/sim_prc float32": lambda: found,
        "step pretrain/wrong float32": lambda: 1 / 0,
        "half precision": lambda: halves,
    }
    report.run_pieces(pieces, tmp_path, "cpu", say=lambda _: None)
    text = report.table(tmp_path)
    assert "| voxelize | 0.0e+00 | - | equal |" in text
    assert "| pretrain/wrong | float32 | ZeroDivisionError" in text
    assert "| bfloat16 |" in text
    assert (tmp_path / "table.md").read_text() == text
