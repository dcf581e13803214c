"""Training steps as if on a GPU: no mix of devices, and few waits of the host (see `pretend_cuda.py`).

What is counted: in the second step, with a batch of two sweeps of the tiny drive and small networks of the
config's kinds, every read of a number by the host, every operation whose size the host must know, and every
blocking copy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pc3d.evaluation.gpu.operations import Agreement

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parents[1] / "configs"
QUICK = {
    "pretrain/sim_joint": 7,  # a wait for the voxels of each pass, and one to see that the step is finite
    "pretrain/sim_joint:bfloat16": 7,
    "pretrain/nuscenes_joint": 7,
    "pretrain/sim_superflowpp": 5,
    "pretrain/sim_calico": 3,
    "pretrain/nuscenes_calico": 3,
    "pretrain/sim_slidr": 2,
    "pretrain/nuscenes_slidr": 2,
    "pretrain/sim_ppkt": 2,
    "pretrain/sim_distill": 2,
    "pretrain/nuscenes_fac": 3,
    "pretrain/sim_pointcontrast": 3,
    "pretrain/sim_seal": 3,
    "pretrain/sim_proposalcontrast": 3,
    "pretrain/sim_bevdistill": 3,
    "pretrain/sim_local_statistics": 6,
    "pretrain/sim_masked_occupancy": 2,
    "pretrain/sim_bagofwords": 22,
    "pretrain/sim_triplecontrast": 16,
    "pretrain/sim_pointpropagation": 25,
    "pretrain/sim_view_assignment": 47,
    "pretrain/sim_slotcontrast": 65,
    "pretrain/sim_beclr": 24,
    "finetune/sim_5_percent": 7,
    "finetune/sim_linear_probe": 7,
    "finetune/sim_detection": 3,
    "finetune/sim_detection_both": 3,
    "finetune/sim_detection_transfusion": 4,
    "finetune/sim_map_5_percent": 3,
}
"""Most waits of a step. (spconv's own are not seen here.)"""
EVALUATED = ("finetune/sim_5_percent", "finetune/sim_detection", "finetune/sim_map_5_percent")
OWN_DATA = ("demo_", "real_", "sim_detection_5_sweeps", "sim_semi_supervised")
"""Configs of data that other commands make first."""
MOST = 70

pytestmark = pytest.mark.skipif(
    torch.__version__.split("+")[0] != "2.13.0", reason="the pretended device reaches into torch 2.13.0"
)


def everything_else() -> list[str]:
    names = [f"{path.parent.name}/{path.stem}" for path in sorted(CONFIGS.glob("[pf]*e*/*.py"))]
    return [n for n in names if n not in QUICK and not n.split("/")[1].startswith(OWN_DATA)]


def train(names: Sequence[str], index: Path, regions: Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, HERE / "pretend_steps.py", out, index, regions, *names]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=3000
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def results(tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    more = [f"{name}:evaluate" for name in EVALUATED]
    names = [*QUICK, "finetune/sim_detection:mutated", "pretrain/sim_prc:run", "operations", *more]
    return train(names, tiny_index, tiny_regions, tmp_path_factory.mktemp("pretend") / "results.json")


def check(result: dict[str, Any], most: int) -> None:
    assert "error" not in result, result["error"]
    assert result["problems"] == []
    assert result["hazards"] == []
    assert sum(result["waits"].values()) <= most, result["waits"]
    assert all(abs(loss) < 1e6 for loss in result["losses"].values())
    assert result.get("predictions", 1) > 0


@pytest.mark.parametrize("name", QUICK)
def test_a_step_mixes_no_devices_and_hardly_waits(results: dict[str, Any], name: str) -> None:
    check(results[name], QUICK[name])


def test_what_is_not_moved_to_the_device_is_found(results: dict[str, Any]) -> None:
    problems = results["finetune/sim_detection:mutated"]["problems"]
    assert any("same device" in problem and "center_losses.py" in problem for problem in problems)


def test_a_run_reads_its_log_once_in_a_while(results: dict[str, Any]) -> None:
    run = results["pretrain/sim_prc:run"]
    assert run.get("error") is None, run["error"]
    assert (run["problems"], run["hazards"]) == ([], [])
    assert [row["step"] for row in run["rows"]] == [2, 4, 5]
    assert all("prc/effective_rank" in row for row in run["rows"][:2])
    _, logged, between, _ = run["waits_by_step"]
    assert between == 3  # two passes, and whether the step was finite
    assert logged <= between + 1 + 2  # all numbers at once, and two of eigenvalues
    assert "backbone.safetensors" in run["files"]


def test_every_operation_gives_the_same_there(results: dict[str, Any]) -> None:
    found = results["operations"]
    assert found.get("error") is None, found["error"]
    assert found["problems"] == []
    for name, agreement in found["operations"].items():
        assert Agreement(**agreement).good, (name, agreement)


@pytest.mark.parametrize("name", EVALUATED)
def test_a_checkpoint_is_evaluated_on_the_device(results: dict[str, Any], name: str) -> None:
    """Scores, and for a segmenter pseudo-labels and the kNN probe."""
    found = results[f"{name}:evaluate"]
    assert found.get("error") is None, found["error"]
    assert (found["problems"], found["hazards"]) == ([], [])
    assert found["result"]["frames"] == 3


@pytest.mark.long
def test_all_other_configs(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    found = train(everything_else(), tiny_index, tiny_regions, tmp_path / "results.json")
    for name, result in found.items():
        try:
            check(result, MOST)
        except AssertionError as error:
            raise AssertionError(name) from error
