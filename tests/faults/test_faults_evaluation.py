"""What an official evaluation would refuse is said before anything is predicted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import QUICK, REPOSITORY, Fault, Place, check, run_script
from small_models import MINK, PILLARS

from pc3d.data.index import SweepIndex, write_index
from pc3d.data.readers import open_reader
from pc3d.engine.finetuner import build_segmenter
from pc3d.engine.run_data import write_run_data
from pc3d.evaluation import downstream, segmentation
from pc3d.models.bev_models import build_bev_model
from pc3d.models.weights import save_backbone

VERSION = "v1.0-sim"


def segmenter(folder: Path, num_classes: int = 16) -> Path:
    """An untrained segmenter as fine-tuning writes it."""
    head = {"num_classes": num_classes}
    path = folder / "segmenter.safetensors"
    metadata = {"lidar": json.dumps(MINK), "head": json.dumps(head), "frames": "{}"}
    save_backbone(build_segmenter(MINK, head), path, metadata)
    return path


def bev_model(folder: Path, task: str) -> Path:
    """An untrained detector or map segmenter as fine-tuning writes it."""
    network, head = {"lidar": PILLARS, "fused_channels": 8, "widths": [8, 8], "layers": [1, 1]}, {}
    path = folder / f"{task}.safetensors"
    metadata = {"task": task, "network": json.dumps(network), "head": json.dumps(head), "frames": "{}"}
    save_backbone(build_bev_model(task, network, head), path, metadata)
    return path


MODELS: dict[str, Callable[[Path], Path]] = {
    "lidarseg": segmenter,
    "detection": lambda folder: bev_model(folder, "detection"),
    "map": lambda folder: bev_model(folder, "map"),
}


def evaluation(place: Place, task: str, root: Path, *more: str | Path) -> Sequence[str | Path]:
    checkpoint = MODELS[task](place.tmp)
    return ["tools/evaluate.py", checkpoint, "--index", place.index, "--root", root, *more]


Rows = list[dict[str, Any]]


def change_table(place: Place, root: Path, name: str, change: Callable[[Rows], object]) -> None:
    path = root / VERSION / f"{name}.json"
    rows = json.loads(path.read_text())
    place.rewrite(path, json.dumps(change(rows) or rows).encode())


def no_maps(task: str) -> Callable[[Place], Sequence[str | Path]]:
    def command(place: Place) -> Sequence[str | Path]:
        root = place.copy_of_data()
        for path in (root / "maps").rglob("*"):
            if path.suffix in ((".json",) if task == "map" else (".png", ".jpg")):
                path.unlink()
        return evaluation(place, task, root)

    return command


def broken_map(place: Place) -> Sequence[str | Path]:
    root = place.copy_of_data()
    for path in (root / "maps" / "expansion").glob("*.json"):
        place.rewrite(path, path.read_bytes()[:5000])
    return evaluation(place, "map", root)


def part_of_lidarseg(task: str) -> Callable[[Place], Sequence[str | Path]]:
    def command(place: Place) -> Sequence[str | Path]:
        root = place.copy_of_data()
        for path in sorted((root / "lidarseg" / VERSION).glob("*.bin"))[:3]:
            path.unlink()
        return evaluation(place, task, root)

    return command


def strange_label(place: Place) -> Sequence[str | Path]:
    root = place.copy_of_data()
    for path in (root / "lidarseg" / VERSION).glob("*.bin"):
        place.rewrite(path, b"\xc8" + path.read_bytes()[1:])
    return evaluation(place, "lidarseg", root)


def other_channel(task: str) -> Callable[[Place], Sequence[str | Path]]:
    def command(place: Place) -> Sequence[str | Path]:
        root = place.copy_of_data()

        def rename(rows: Rows) -> None:
            for row in rows:
                row["channel"] = row["channel"].replace("LIDAR_TOP", "LIDAR_ROOF")

        change_table(place, root, "sensor", rename)
        return evaluation(place, task, root)

    return command


def no_lidarseg_table(place: Place) -> Sequence[str | Path]:
    root = place.copy_of_data()
    (root / VERSION / "lidarseg.json").unlink()
    return evaluation(place, "lidarseg", root)


def scenes_left_out(place: Place) -> Sequence[str | Path]:
    """An index without a scene of the split."""
    reader = open_reader("nuscenes", place.sound_root, version=VERSION)
    sweeps = list(reader.sweeps())
    dropped = next(sweep.scene for sweep in sweeps if sweep.split == "sim_val")
    kept = [sweep for sweep in sweeps if sweep.scene != dropped]
    if not any(sweep.split == "sim_val" for sweep in kept):  # the split has one scene: leave a part of it
        of_scene = [sweep for sweep in sweeps if sweep.scene == dropped]
        kept = [sweep for sweep in sweeps if sweep not in of_scene[len(of_scene) // 2 :]]
    index = write_index(place.tmp / "index", kept, {**reader.metadata, "rebuild": "the test"})
    return ["tools/evaluate.py", segmenter(place.tmp), "--index", index, "--split", "sim_val"]


def plain_names(place: Place) -> Sequence[str | Path]:
    root = place.copy_of_data()

    def shorten(rows: Rows) -> None:
        for row in rows:
            row["name"] = row["name"].split(".")[-1]

    change_table(place, root, "category", shorten)
    # With other category names the devkit cannot colour lidarseg either.
    (root / VERSION / "lidarseg.json").unlink()
    return evaluation(place, "detection", root)


def two_attributes(place: Place) -> Sequence[str | Path]:
    root = place.copy_of_data()

    def double(rows: Rows) -> None:
        for row in rows:
            row["attribute_tokens"] = row["attribute_tokens"] * 2

    change_table(place, root, "sample_annotation", double)
    return evaluation(place, "detection", root)


def other_split(place: Place) -> Sequence[str | Path]:
    return evaluation(place, "lidarseg", place.sound_root, "--split", "sim_vall")


def other_classes(place: Place) -> Sequence[str | Path]:
    return ["tools/evaluate.py", segmenter(place.tmp, 11), "--index", place.index]


def no_run(place: Place) -> Sequence[str | Path]:
    return ["tools/evaluate.py", segmenter(place.tmp)]


def no_checkpoint(place: Place) -> Sequence[str | Path]:
    return ["tools/evaluate.py", place.tmp / "no" / "segmenter.safetensors"]


def run_folder(place: Place) -> Sequence[str | Path]:
    return ["tools/evaluate.py", segmenter(place.tmp).parent]


def config_file(_: Place) -> Sequence[str | Path]:
    return ["tools/evaluate.py", REPOSITORY / "configs/finetune/sim_5_percent.py"]


def backbone(place: Place) -> Sequence[str | Path]:
    path = place.tmp / "backbone.safetensors"
    save_backbone(build_segmenter(MINK, {"num_classes": 16}).encoder, path, {"lidar": json.dumps(MINK)})
    return ["tools/evaluate.py", path, "--index", place.index]


def index_is_gone(place: Place) -> Sequence[str | Path]:
    write_run_data(place.tmp, {"index": str(place.tmp / "gone"), "split": "sim_train"})
    return no_run(place)


def several_data_sets(place: Place) -> Sequence[str | Path]:
    write_run_data(place.tmp, {"sources": [{"index": place.index}, {"index": place.tmp / "other"}]})
    return no_run(place)


def evaluation_after_training(place: Place) -> Sequence[str | Path]:
    root = place.copy_of_data()
    (root / VERSION / "lidarseg.json").unlink()
    data = [f"data.index={place.index}", f"data.root={root}", "schedule.iterations=1000"]
    run = ["--work-dir", place.tmp / "run", "--eval-split", "sim_val", "--cfg-options", *QUICK, *data]
    return ["tools/finetune.py", REPOSITORY / "configs/finetune/sim_5_percent.py", *run]


FAULTS = [
    Fault(
        "maps not extracted, detection",
        "start",
        2,
        [r"cannot open.*map", r"remedy: extract the maps"],
        no_maps("detection"),
    ),
    Fault(
        "map expansion not extracted, map segmentation", "start", 2, ["there is no map of"], no_maps("map")
    ),
    Fault("map expansion cut short", "start", 2, ["the map cannot be read"], broken_map),
    Fault(
        "lidarseg extracted in part, segmentation",
        "start",
        2,
        [r"label files", "whole lidarseg"],
        part_of_lidarseg("lidarseg"),
    ),
    Fault(
        "lidarseg extracted in part, detection",
        "start",
        2,
        [r"label files", "whole lidarseg"],
        part_of_lidarseg("detection"),
    ),
    Fault(
        "a label that is no category, segmentation",
        "start",
        2,
        [r"label 200 of sweep \w+ is no category"],
        strange_label,
    ),
    Fault(
        "a LiDAR channel other than LIDAR_TOP, detection",
        "start",
        2,
        ["no LIDAR_TOP", "LIDAR_ROOF"],
        other_channel("detection"),
    ),
    Fault(
        "a LiDAR channel other than LIDAR_TOP, segmentation",
        "start",
        2,
        ["no LIDAR_TOP", "LIDAR_ROOF"],
        other_channel("lidarseg"),
    ),
    Fault(
        "an evaluation that will be refused after fine-tuning",
        "start",
        2,
        [r"no lidarseg\.json"],
        evaluation_after_training,
        never=["Traceback", "Epoch"],
    ),
    Fault("no lidarseg table, segmentation", "start", 2, [r"no lidarseg\.json"], no_lidarseg_table),
    Fault(
        "scenes left out of the split that is evaluated",
        "start",
        2,
        [r"lacks \d+ of the \d+ samples"],
        scenes_left_out,
    ),
    Fault(
        "categories that the evaluator does not know",
        "start",
        2,
        ["has an annotated box of a detection class"],
        plain_names,
    ),
    Fault("boxes with two attributes", "start", 2, ["refuses", "more than one attribute"], two_attributes),
    Fault(
        "a split that is to be evaluated and does not exist",
        "start",
        2,
        ["did you mean 'sim_val'"],
        other_split,
    ),
    Fault(
        "a model of other classes than the official ones",
        "start",
        2,
        ["11 classes", "num_classes=16"],
        other_classes,
    ),
    Fault("a path of no checkpoint", "start", 2, ["no checkpoint"], no_checkpoint),
    Fault(
        "a run folder as a checkpoint", "start", 2, ["folder", r"name .*segmenter\.safetensors"], run_folder
    ),
    Fault("a config as a checkpoint", "start", 2, [r"weights are \.safetensors"], config_file),
    Fault("a backbone that is to be evaluated", "start", 2, ["but a backbone", "--knn"], backbone),
    Fault("a run whose index is gone", "start", 2, ["is gone", "--index"], index_is_gone),
    Fault("a checkpoint without its run, and no --index", "start", 2, ["which data set", "--index"], no_run),
    Fault(
        "a run on several data sets, and no --index",
        "start",
        2,
        ["reads 2 data sets", "--index"],
        several_data_sets,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault(
    fault: Fault, place: Place, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def predicted(*_: object, **__: object) -> None:
        raise AssertionError("something was predicted")

    monkeypatch.setattr(segmentation, "predict_scans", predicted)
    monkeypatch.setattr(downstream, "predict_bev", predicted)
    check(fault, place, capfd)


def test_an_evaluation_takes_its_data_from_the_run(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    write_run_data(place.tmp, {"index": str(place.index), "split": "sim_train"})
    code, text = run_script(["tools/evaluate.py", segmenter(place.tmp)], capfd)
    assert code == 0, text
    made = json.loads((place.tmp / "evaluation" / "metrics.json").read_text())["settings"]
    assert made["split"] == "sim_val"
    assert made["data"]["index"] == SweepIndex.open(place.index).fingerprint
