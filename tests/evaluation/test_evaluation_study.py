"""A whole study of detection: pretrained on the detector's encoder, from a file, resumed, published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pc3d.engine import pretrainer
from pc3d.engine.checkpoints import load_encoder
from pc3d.evaluation import study as study_module
from pc3d.evaluation.study import Study, Task, publish, run_study
from pc3d.models.lidar import PointPillars

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
QUICK = {"data.workers": 0, "runtime.log_level": "WARNING", "schedule.iterations": 1}
GRID = {"x_min": -51.2, "x_max": 51.2, "y_min": -51.2, "y_max": 51.2, "cell": 3.2}


def _study(index: Path, regions: Path, folder: Path, **starts: Path) -> Study:
    config = CONFIGS / "finetune/sim_detection_5_percent.py"
    narrow = {**QUICK, "lidar.grid": GRID}
    tasks = {
        f"detection-{percent}-percent": Task(
            config,
            percent / 100,
            {**narrow, "data.fraction": percent},
            metrics=("nds", "map"),
            family="detection",
        )
        for percent in (50, 100)
    }
    return Study(
        starts={"prc": CONFIGS / "pretrain/sim_prc.py", **starts},
        tasks=tasks,
        seeds=[0],
        work_dir=folder,
        overrides={"data.index": str(index)},
        pretrain_overrides={"data.regions": str(regions), **QUICK},
    )


def test_a_study_of_detection_runs_once_and_publishes(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _study(tiny_index, tiny_regions, tmp_path)
    run_study(study)
    backbone = tmp_path / "pretrain/prc-pointpillars-seed0/backbone.safetensors"
    encoder = load_encoder(backbone)
    assert isinstance(encoder, PointPillars)
    assert encoder.grid.cell == GRID["cell"]  # the tasks' encoder, not that of sim_prc

    def never(*args, **kwargs):
        raise AssertionError("a finished run is run again")

    monkeypatch.setattr(pretrainer, "train", never)
    with monkeypatch.context() as patch:
        patch.setattr(study_module, "finetune", never)
        again = run_study(study)
    assert len(again) == 4  # random and prc, two fractions
    table = publish(again, study)
    assert "| start | 50 % | 100 % |" in table
    assert table.count("| prc |") == 2  # NDS and mAP
    assert len(json.loads((tmp_path / "results.json").read_text())) == 4
    assert (tmp_path / "plot-nds.png").is_file()

    # A file of any name, with another run's backbone beside it.
    copy = tmp_path / "other" / "mine.safetensors"
    copy.parent.mkdir()
    shutil.copyfile(backbone, copy)
    (copy.parent / "backbone.safetensors").write_bytes(b"of another run")
    from_file = _study(tiny_index, tiny_regions, tmp_path, mine=copy)
    results = {(r.cell.start, r.cell.fraction): r.metrics["nds"] for r in run_study(from_file)}
    assert results["mine", 1.0] == pytest.approx(results["prc", 1.0])


def test_tasks_with_different_encoders_are_refused(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    study = _study(tiny_index, tiny_regions, tmp_path)
    study.tasks["linear-probe"] = Task(CONFIGS / "finetune/sim_linear_probe.py", 1.0)
    with pytest.raises(ValueError, match="different LiDAR encoders"):
        run_study(study)
