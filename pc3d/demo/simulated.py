"""The demo on the simulated drive: what did pretraining buy with few labels?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pc3d.data.index import SweepIndex
from pc3d.demo.pictures import comparison_figures, curve_figures, data_figures, feature_figures
from pc3d.demo.steps import Clock, console, index, regions, simulate
from pc3d.engine.finetuner import build_segmenter
from pc3d.evaluation.label_efficiency import RANDOM, CellResult
from pc3d.evaluation.study import Study, Task, load_config, plain, run_study
from pc3d.models.weights import save_backbone
from pc3d.viz.report import KeyNumber, KeyNumbers, Section, Table, Text, environment_facts, write_report

PRETRAINED = "pretrained"


def run(
    work_dir: Path, configs: Path, size: str = "demo", seed: int = 0, overrides: dict[str, Any] | None = None
) -> Path:
    """Simulate, index, regions, pretrain, probe, fine-tune, evaluate; returns the report.

    Args:
        work_dir: everything is written here; what is there already is not done again.
        configs: the folder `configs` of the repository.
        size: of the simulated data set, see `pc3d.sim.sizes`.
        overrides: settings of all configs, pretraining and fine-tuning.
    """
    clock = Clock()
    with clock.step("simulate"):
        simulate(work_dir / "sim", size, seed)
    with clock.step("index"):
        drives = index("nuscenes", work_dir / "sim", work_dir / "index", version="v1.0-sim")
    with clock.step("regions"):
        statistics = regions(drives, work_dir / "regions")
    study = make_study(work_dir, configs, seed, overrides or {})
    with clock.step("pretrain, probe, fine-tune, evaluate"):
        results = run_study(study)
    with clock.step("report"):
        report = _report(work_dir, configs, study, drives, results, clock)
    _write_summary(work_dir, results, statistics, clock)
    console.print(f"report: {report}")
    return report


def make_study(work_dir: Path, configs: Path, seed: int, overrides: dict[str, Any]) -> Study:
    """Joint pretraining against a random start: linear probe, and fine-tuning on one scene."""
    return Study(
        starts={PRETRAINED: configs / "pretrain/demo_joint.py"},
        tasks={
            "linear probe": Task(configs / "finetune/demo_linear_probe.py", 1.0),
            "fine-tuning, one scene": Task(configs / "finetune/demo_one_scene.py", 0.125),
        },
        seeds=[seed],
        work_dir=work_dir,
        overrides={"data.index": str(work_dir / "index"), **overrides},
        pretrain_overrides={"data.regions": str(work_dir / "regions")},
        jobs=2,
    )


def _table(results: list[CellResult]) -> tuple[Table, dict[str, dict[str, float]]]:
    scores: dict[str, dict[str, float]] = {}
    for result in results:
        scores.setdefault(result.cell.task, {})[result.cell.start] = 100 * result.metrics["miou"]
    rows = [
        [task, f"{by[RANDOM]:.1f}", f"{by[PRETRAINED]:.1f}", f"{by[PRETRAINED] - by[RANDOM]:+.1f}"]
        for task, by in scores.items()
    ]
    header = ["official lidarseg mIoU, %", "random start", "pretrained", "gain"]
    caption = "One seed on a small simulated validation split; the README's table has three seeds."
    return Table(header, rows, "What pretraining bought", caption, signed=frozenset({3})), scores


def _report(
    work_dir: Path,
    configs: Path,
    study: Study,
    drives: SweepIndex,
    results: list[CellResult],
    clock: Clock,
) -> Path:
    pictures = work_dir / "pictures"
    pictures.mkdir(exist_ok=True)
    table, scores = _table(results)
    row = int(drives.key_rows(study.eval_split)[0])
    run = work_dir / "pretrain" / f"{PRETRAINED}-seed{study.seeds[0]}"
    starts = {PRETRAINED: run / "backbone.safetensors", RANDOM: _random_backbone(work_dir, configs, study)}
    few = {
        r.cell.start: work_dir / "runs" / r.cell.key() / "segmenter.safetensors"
        for r in results
        if r.cell.task.startswith("fine-tuning")
    }
    cards = [
        KeyNumber(f"{by[PRETRAINED]:.1f} %", task, f"{by[PRETRAINED] - by[RANDOM]:+.1f} over random")
        for task, by in scores.items()
    ]
    cards.append(KeyNumber(f"{sum(clock.seconds.values()) / 60:.1f} min", "the whole way"))
    sections: list[Section] = [
        KeyNumbers(cards),
        table,
        data_figures(drives, row, work_dir / "regions", pictures, "A drive that the backbone never saw"),
        feature_figures(drives, row, starts, pictures, _anchor(drives, row)),
        comparison_figures(drives, row, few, pictures),
        curve_figures(run, pictures),
        Text(_METHOD, "How this was made"),
    ]
    path = work_dir / "report.html"
    write_report(
        path,
        "pc3d demo",
        sections,
        subtitle="Pretraining on unlabelled simulated drives, few labels, official metrics",
        command="make demo",
        environment=environment_facts(),
    )
    return path


_METHOD = """The LiDAR backbone (a narrow MinkUNet-18) was pretrained without labels by point-region contrast
between two augmented views of each sweep and by superpixel contrast against a frozen image network, in one
joint step over shared encoder passes.

The linear probe freezes the backbone and trains one linear layer on all training labels. Fine-tuning trains
everything on the labels of one scene. Both starts take the same steps at the same fixed learning rate, and
the last checkpoint is scored by the official nuScenes lidarseg evaluator."""


def _random_backbone(work_dir: Path, configs: Path, study: Study) -> Path:
    """The weights that the random start begins with, for the pictures."""
    path = work_dir / "random-backbone.safetensors"
    config = load_config(configs / "finetune/demo_linear_probe.py", "finetune", study.overrides)
    lidar = plain(config.lidar)
    model = build_segmenter(lidar, {"num_classes": 2}, seed=study.seeds[0])
    save_backbone(model.encoder, path, {"lidar": json.dumps(lidar)})
    return path


def _anchor(drives: SweepIndex, row: int) -> tuple[float, float]:
    """x, y of the nearest annotated car in view, the point that likeness is shown for."""
    boxes = drives[row].boxes
    cars = (
        [
            (float(abs(c[0]) + abs(c[1])), float(c[0]), float(c[1]))
            for c, name, count in zip(boxes.centers, boxes.names, boxes.num_lidar_pts, strict=True)
            if name == "vehicle.car" and count >= 50
        ]
        if boxes is not None
        else []
    )
    return min(cars)[1:] if cars else (10.0, 0.0)


def _write_summary(
    work_dir: Path, results: list[CellResult], statistics: dict[str, dict[str, float | None]], clock: Clock
) -> None:
    cells = [
        {"task": r.cell.task, "start": r.cell.start, "seed": r.cell.seed, "metrics": r.metrics}
        for r in results
    ]
    summary = {
        "results": cells,
        "regions": statistics,
        "seconds": clock.seconds,
        "environment": environment_facts(),
    }
    (work_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
