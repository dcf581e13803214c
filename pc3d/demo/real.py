"""The demo on real samples: pretrain on a KITTI drive and a nuScenes key frame, and look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pc3d.data.errors import DataError
from pc3d.demo.pictures import curve_figures, data_figures, feature_figures
from pc3d.demo.steps import Clock, console, index, regions
from pc3d.engine.config import load_config, plain
from pc3d.engine.pretrainer import pretrain
from pc3d.engine.training import seeded
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.weights import save_backbone
from pc3d.viz.report import KeyNumber, KeyNumbers, Section, Text, environment_facts, write_report

SOURCES = {
    "kitti": ("kitti_raw", "kitti_raw", {}),
    "nuscenes": ("nuscenes", "nuscenes", {"version": "v1.0-mini"}),
}


def run(data: Path, work_dir: Path, configs: Path, overrides: dict[str, Any] | None = None) -> Path:
    """Index, regions, pretrain and report on the real samples in `data`; returns the report.

    Args:
        data: folder with `kitti_raw/` and `nuscenes/` (v1.0-mini).
        work_dir, configs, overrides: as in `pc3d.demo.simulated.run`.

    Raises:
        DataError: a sample is missing.
    """
    missing = [name for _, name, _ in SOURCES.values() if not (data / name).is_dir()]
    if missing:
        raise DataError(f"no {' and no '.join(missing)} in {data}; give the folder of the samples: DATA=...")
    clock = Clock()
    drives, config_sources = {}, []
    with clock.step("index and regions"):
        for key, (reader, name, options) in SOURCES.items():
            drives[key] = index(reader, data / name, work_dir / f"{key}-index", **options)
            regions(drives[key], work_dir / f"{key}-regions")
            paths = {part: str(work_dir / f"{key}-{part}") for part in ("index", "regions")}
            config_sources.append({**paths, "split": None})
    settings = {"data.sources": config_sources, **(overrides or {})}
    config = load_config(configs / "pretrain/real_joint.py", "pretrain", settings)
    with clock.step("pretrain"):
        backbone = pretrain(config, work_dir / "pretrain", resume=True, overwrite=True)
    with clock.step("report"):
        report = _report(work_dir, drives, backbone, plain(config.lidar))
    console.print(f"report: {report}")
    return report


def _report(work_dir: Path, drives: dict[str, Any], backbone: Path, lidar: dict[str, Any]) -> Path:
    pictures = work_dir / "pictures"
    pictures.mkdir(exist_ok=True)
    random = work_dir / "random-backbone.safetensors"
    with seeded(0):
        save_backbone(build_lidar_encoder(lidar), random, {"lidar": json.dumps(lidar)})
    rows = [json.loads(line) for line in (backbone.parent / "metrics.jsonl").read_text().splitlines()]
    first, last = rows[0]["loss"], rows[-1]["loss"]
    starts = {"pretrained": backbone, "random": random}
    sections: list[Section] = [
        KeyNumbers([KeyNumber(f"{first:.2f} to {last:.2f}", "loss", f"over {rows[-1]['step']} steps")])
    ]
    for key, name in (("nuscenes", "A nuScenes key frame"), ("kitti", "A KITTI drive")):
        row = int(drives[key].key_rows(None)[0])
        sections.append(data_figures(drives[key], row, work_dir / f"{key}-regions", pictures, name))
        sections.append(feature_figures(drives[key], row, starts, pictures, (10.0, 0.0)))
    sections.append(curve_figures(backbone.parent, pictures))
    sections.append(Text("The samples carry no point labels, so nothing is scored here.", "What this is not"))
    summary = {"loss": {"first": first, "last": last}, "environment": environment_facts()}
    (work_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    path = work_dir / "report.html"
    write_report(
        path,
        "pc3d on real samples",
        sections,
        subtitle="Joint pretraining on a KITTI drive and a nuScenes key frame",
        command="make demo-real DATA=...",
        environment=environment_facts(),
    )
    return path
