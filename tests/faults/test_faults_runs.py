"""A run with nothing to learn, with random teachers, with bad samples or a wrong calibration."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import QUICK, Fault, Place, check, run_script

from pc3d.data.checks import write_findings
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.records import Sweep
from pc3d.findings import Finding
from pc3d.regions.build import open_cache

Command = Sequence[str | Path]
DETECTOR = [
    "data.batch_size=2",
    "data.workers=0",
    "runtime.log_level=WARNING",
    "lidar.pillar_channels=4",
    "lidar.bev_widths=(4,4)",
    "lidar.bev_layers=(1,1)",
    "lidar.bev_channels=8",
    "network.fused_channels=8",
    "schedule.iterations=1",
]


def pretraining(
    place: Place,
    name: str,
    *options: str,
    index: Path | None = None,
    regions: Path | None = None,
    steps: int = 2,
) -> Command:
    """A short narrow run of `sim_NAME`."""
    data = [f"data.index={index or place.index}", f"data.regions={regions or place.regions}"]
    options = (*QUICK, *data, f"schedule.iterations={steps}", *options)
    config, run = f"configs/pretrain/sim_{name}.py", place.tmp / "run"
    return ["tools/pretrain.py", config, "--work-dir", run, "--cfg-options", *options]


def finetuning(place: Place, name: str, *options: str, index: Path | None = None) -> Command:
    data = f"data.index={index or place.index}"
    run = place.tmp / "run"
    return [
        "tools/finetune.py",
        f"configs/finetune/sim_{name}.py",
        "--work-dir",
        run,
        "--cfg-options",
        data,
        *options,
    ]


def changed_index(place: Place, change: Callable[[Sweep], Sweep], rows: Sequence[int] | None = None) -> Path:
    """The index with each sweep changed, of all rows or of some."""
    index = SweepIndex.open(place.index)
    metadata = {key: index.metadata[key] for key in ("dataset", "root", "rebuild", "classes")}
    sweeps = (change(index[row]) for row in (range(len(index)) if rows is None else rows))
    return write_index(place.tmp / "index", sweeps, metadata)


def misspelt_camera(place: Place) -> Command:
    return pretraining(place, "slidr", "data.camera_names=('CAM_FRONTT','CAM_BACK')")


def regions_of_nothing(kind: str, name: str, params: Any = None) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        index = SweepIndex.open(place.index)
        there, bare = open_cache(place.regions, kind, params), open_cache(place.tmp / "regions", kind, params)
        for row in index.key_rows(None):
            arrays = there.load_all(index[row].token)
            bare.save(index[row].token, {key: np.full_like(array, -1) for key, array in arrays.items()})
        return pretraining(place, name, regions=place.tmp / "regions")

    return command


def cameras_that_look_away(place: Place) -> Command:
    """Every camera looks straight up: no point lands in an image."""
    up = np.array([[0.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1e3], [0, 0, 0, 0]])

    def lifted(sweep: Sweep) -> Sweep:
        cameras = tuple(replace(c, world_SE3_ego=c.world_SE3_ego + 1e3 * up) for c in sweep.cameras)
        return replace(sweep, cameras=cameras)

    return pretraining(place, "ppkt", "data.calibration=off", index=changed_index(place, lifted))


def no_neighbours(place: Place) -> Command:
    """One key frame of each scene, without the sweeps between."""
    index = SweepIndex.open(place.index)
    first = [row for row in index.key_rows(None) if index.neighbour(int(row), -1) is None]
    alone = changed_index(place, lambda sweep: sweep, [int(row) for row in first])
    return pretraining(place, "superflow", "image.levels=(16,)", index=alone, steps=1)


def ignored_labels(place: Place) -> Command:
    root = place.copy_of_data()
    index = SweepIndex.open(place.index, root=root)
    for row in index.key_rows(None):
        path = index[row].lidarseg_path
        assert path is not None
        place.rewrite(path, bytes(path.stat().st_size))  # category 0 is noise
    options = (*QUICK, "schedule.iterations=2", "data.fraction=None", f"data.root={root}")
    return finetuning(place, "5_percent", *options)


def boxes(change: Callable[[Sweep], dict[str, Any]]) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        def changed(sweep: Sweep) -> Sweep:
            return (
                sweep if sweep.boxes is None else replace(sweep, boxes=replace(sweep.boxes, **change(sweep)))
            )

        return finetuning(place, "detection", *DETECTOR, index=changed_index(place, changed))

    return command


def plain_names(sweep: Sweep) -> dict[str, Any]:
    assert sweep.boxes is not None
    return {"names": ("Car",) * len(sweep.boxes)}


def far_boxes(sweep: Sweep) -> dict[str, Any]:
    assert sweep.boxes is not None
    return {"centers": sweep.boxes.centers + 5000.0}


def probe_of_nothing(place: Place) -> Command:
    return finetuning(place, "linear_probe", *QUICK, "schedule.iterations=1")


def random_teacher(place: Place) -> Command:
    return pretraining(place, "slidr", "image.pretrained=False")


def random_lidar_teacher(place: Place) -> Command:
    rad = ("stages=None", "objectives.rad.type=RAD", "frozen=('lidar',)")
    return [option for option in pretraining(place, "calico", *rad) if not str(option).startswith("lidar.")]


def broken_sweeps(count: int, *options: str) -> Callable[[Place], Command]:
    """So many point files of the six training frames cut short."""

    def command(place: Place) -> Command:
        root = place.copy_of_data()
        index = SweepIndex.open(place.index, root=root)
        for row in index.key_rows("sim_train")[:count]:
            place.rewrite(index[int(row)].path, index[int(row)].path.read_bytes()[:-7])
        return pretraining(place, "prc", f"data.root={root}", *options, steps=3)

    return command


def wrong_calibration(name: str, *options: str) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        shutil.copytree(place.index, place.tmp / "index")
        wrong = Finding("calibration CAM_BACK", "problem", "it is turned by 180 degrees", "mend its table")
        write_findings(place.tmp / "index", [wrong])
        return pretraining(place, name, *options, index=place.tmp / "index", steps=1)

    return command


WRONG = r"calibration CAM_BACK: it is turned by 180 degrees"
FAULTS = [
    Fault(
        "a camera name that no frame has",
        "start",
        2,
        [r"no frame has a camera CAM_FRONTT\n", r"did you mean CAM_FRONT\?", r"the frames have CAM_BACK"],
        misspelt_camera,
    ),
    Fault(
        "regions without a point",
        "first steps",
        2,
        [
            r"prc had nothing to learn from in the first 2 steps: no point of a region",
            r"where: sweeps \S+, \S+, .* 0 points with regions",
            r"there are no regions: look at `data.regions`.*--kinds clusters",
        ],
        regions_of_nothing("clusters", "prc"),
    ),
    Fault(
        "segments without a point",
        "first steps",
        2,
        [r"fac had nothing to learn from .*: no point of a segment", r"0 points with regions"],
        regions_of_nothing("clusters", "fac"),
    ),
    Fault(
        "cameras that see no point",
        "first steps",
        2,
        [r"ppkt had nothing .*: no point-pixel pair", r" 0 point-pixel pairs", r"calibration"],
        cameras_that_look_away,
    ),
    Fault(
        "key frames without neighbours",
        "start",
        0,
        [
            r"warning  frame t-1: no frame has a key frame there",
            r"warning  frame dense: no frame has earlier sweeps",
        ],
        no_neighbours,
    ),
    Fault(
        "labels that are all ignored",
        "first steps",
        2,
        [r"head had nothing to learn .*: no labelled point", r"every label is an ignored one"],
        ignored_labels,
    ),
    Fault(
        "boxes of no class",
        "start",
        2,
        [
            r"no box can be learned: of \d+ boxes in \d+ frames, \d+ are of no class.*\(Car \d+\)",
            r"vehicle\.car",
        ],
        boxes(plain_names),
    ),
    Fault(
        "boxes outside of the detector's map",
        "start",
        2,
        [r"[1-9]\d* lie outside of its map"],
        boxes(far_boxes),
    ),
    Fault(
        "a linear probe without a checkpoint",
        "start",
        2,
        [
            r"the frozen part lidar would stay at random weights",
            r"init\.checkpoint=FILE",
            r"init\.random=True",
        ],
        probe_of_nothing,
    ),
    Fault(
        "an image teacher without weights",
        "start",
        2,
        [r"the frozen image encoder \(EfficientNetLite0\) would stay at random weights"],
        random_teacher,
    ),
    Fault(
        "a LiDAR teacher without weights",
        "start",
        2,
        [r"the frozen part lidar, the frozen head rad\.teacher_projector"],
        random_lidar_teacher,
    ),
    Fault(
        "a bad sample",
        "frame",
        2,
        [r"point file has \d+ bytes", r"remedy: copy the file again"],
        broken_sweeps(6),
    ),
    Fault(
        "bad samples within the budget",
        "frame",
        0,
        [r"bad sample 1 of at most 2: \S+: point file has \d+ bytes.*\.bin\)"],
        broken_sweeps(2, "data.bad_samples=0.34"),
    ),
    Fault(
        "bad samples above the budget",
        "frame",
        2,
        [
            r"2 samples cannot be read; data\.bad_samples=0\.01 allows 1 of 6",
            r"\n    \S+: point file",
            r"--resume",
        ],
        broken_sweeps(5, "data.bad_samples=0.01"),
    ),
    Fault(
        "a calibration that looks wrong",
        "start",
        2,
        [WRONG, r"data\.calibration=warn"],
        wrong_calibration("slidr"),
    ),
    Fault(
        "a wrong calibration that is accepted",
        "start",
        0,
        [f"problem  {WRONG}"],
        wrong_calibration("slidr", "data.calibration=warn"),
    ),
    Fault(
        "a wrong calibration of a camera that is not read",
        "start",
        0,
        [],
        wrong_calibration("slidr", "data.camera_names=('CAM_FRONT',)", "data.cameras=1"),
        never=("Traceback", "CAM_BACK"),
    ),
    Fault(
        "a wrong calibration of a LiDAR-only run",
        "start",
        0,
        [],
        wrong_calibration("prc"),
        never=("Traceback", "CAM_BACK"),
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault(fault: Fault, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    check(fault, place, capfd)


def test_random_weights_may_be_asked_for(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    code, text = run_script([*probe_of_nothing(place), "init.random=True"], capfd)
    assert code == 0, text
