"""One world of the demo: its data, and what a network pretrained on it scores beside references."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pc3d.data.index import SweepIndex
from pc3d.data.splits import label_fraction
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import frame_settings
from pc3d.engine.finetuner import build_segmenter
from pc3d.evaluation.label_efficiency import RANDOM
from pc3d.evaluation.protocol.data import draw_points, spread_key_frames
from pc3d.evaluation.protocol.networks import Backbone
from pc3d.evaluation.protocol.references import reference_table
from pc3d.evaluation.study import Study, Task, run_study
from pc3d.models.weights import save_backbone
from pc3d.storage.whole import file_sha256, read_json, write_json

PRETRAINED = "pretrained"
TRAIN, VAL = "sim_train", "sim_val"
FEW = "few frames"
PRETRAINING, FINE_TUNING = "pretrain/demo_distill.py", "finetune/demo_few_frames.py"
POINTS, SWEEPS = 300, (24, 18)
"""Of the probes: points of a key frame, and at most so many key frames of each split."""


@dataclass(frozen=True)
class World:
    """A simulated world and what is made of it.

    Attributes:
        number: seed of the simulation.
        seed: of pretraining and fine-tuning.
        folder: everything of it is written here.
        configs: the folder `configs` of the repository.
        overrides: settings of all configs.
    """

    number: int
    seed: int
    folder: Path
    configs: Path
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def index(self) -> Path:
        return self.folder / "index"

    def study(self) -> Study:
        """Fine-tuning on few frames from a random and the pretrained start, with the same inputs."""
        data = {"data.index": str(self.index), "data.statistics_cache": str(self.folder / "statistics")}
        overrides = {**data, **self.overrides}
        few = load_config(self.configs / FINE_TUNING, "finetune", overrides)
        return Study(
            starts={PRETRAINED: self.configs / PRETRAINING},
            tasks={FEW: Task(self.configs / FINE_TUNING, few.data.fraction / 100)},
            seeds=[self.seed],
            work_dir=self.folder,
            eval_split=VAL,
            overrides=overrides,
            pretrain_overrides={"data.teacher_cache": str(self.folder / "teacher")},
        )


@dataclass(frozen=True)
class WorldResult:
    """What came out in a world.

    Attributes:
        number: of the world.
        probes: `reference_table` of the pretrained network.
        tuned: start to metrics of the official evaluator.
        frames: labelled key frames of fine-tuning, and training key frames in all.
        steps: of pretraining and of fine-tuning.
        seed: of both.
        run: folder of the pretraining. random: the backbone that the random start begins with.
        segmenters: start to fine-tuned model.
    """

    number: int
    probes: dict[str, Any]
    tuned: dict[str, dict[str, Any]]
    frames: tuple[int, int]
    steps: tuple[int, int]
    seed: int
    run: Path
    random: Path
    segmenters: dict[str, Path]

    def probed(self, row: str, probe: str = "logistic") -> float:
        """mIoU of a row of the table of probes, in percent."""
        return 100 * float(self.probes["all"]["rows"][row][probe]["miou"])

    def score(self, start: str) -> float:
        """Official mIoU after fine-tuning from a start, in percent."""
        return 100 * float(self.tuned[start]["miou"])


def score_world(world: World) -> WorldResult:
    """Pretrain, fine-tune, evaluate and probe; what is there already is not done again."""
    study = world.study()
    results = run_study(study)
    config = load_config(world.configs / FINE_TUNING, "finetune", {**study.overrides, "seed": world.seed})
    run = world.folder / "pretrain" / f"{PRETRAINED}-seed{world.seed}"
    index = SweepIndex.open(world.index)
    data = config.data
    labelled = label_fraction(
        index, data.split, data.fraction, data.fraction_rule, data.get("fraction_draw", 0)
    )
    steps = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    return WorldResult(
        number=world.number,
        probes=_probes(world, index, run / "backbone.safetensors"),
        tuned={result.cell.start: result.metrics for result in results},
        frames=(len(labelled), len(index.key_rows(data.split))),
        steps=(steps, config.schedule.iterations),
        seed=world.seed,
        run=run,
        random=_random_backbone(world, config),
        segmenters={
            result.cell.start: world.folder / "runs" / result.cell.key() / "segmenter.safetensors"
            for result in results
        },
    )


def _probes(world: World, index: SweepIndex, checkpoint: Path) -> dict[str, Any]:
    """The table of probes, kept with what it was made of."""
    path = world.folder / "probes.json"
    of = {
        "points": POINTS,
        "sweeps": list(SWEEPS),
        "index": index.fingerprint,
        "weights": file_sha256(checkpoint),
    }
    kept = read_json(path) if path.is_file() else {}
    if kept.get("of") != of:
        train, val = (
            draw_points(index, spread_key_frames(index, split, count), POINTS)
            for split, count in zip((TRAIN, VAL), SWEEPS, strict=True)
        )
        table = reference_table(train, val, {PRETRAINED: Backbone.of(checkpoint)}, seed=world.seed)
        kept = {"of": of, "table": table}
        write_json(path, kept)
    table = kept["table"]
    assert isinstance(table, dict)
    return table


def _random_backbone(world: World, config: Any) -> Path:
    """The weights that the random start begins with, for the pictures."""
    path = world.folder / f"{RANDOM}-backbone.safetensors"
    lidar = plain(config.lidar)
    model = build_segmenter(lidar, {"num_classes": 2}, seed=world.seed)
    about = {"lidar": lidar, "frames": frame_settings(plain(config.data))}
    save_backbone(model.encoder, path, {key: json.dumps(value) for key, value in about.items()})
    return path
