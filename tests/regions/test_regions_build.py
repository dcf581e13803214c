"""Building the caches: resumable, and one bad sweep does not stop the others."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pc3d.cli import parser_of, regions
from pc3d.data.points import load_points
from pc3d.data.records import Boxes, Camera, Sweep
from pc3d.regions.build import KINDS, build_regions, open_cache
from pc3d.regions.key_frame import KeyFrame
from pc3d.regions.lidar_regions import RegionParams, lidar_regions
from pc3d.regions.superpixels import SuperpixelParams

REPOSITORY = Path(__file__).resolve().parents[2]
SLIC = SuperpixelParams(segments=12, sigma=1.0)


def alone(sweeps: list[Sweep]) -> list[KeyFrame]:
    return [KeyFrame(sweep, sweep) for sweep in sweeps]


def make_sweep(folder: Path, number: int, height: float = 1.84, boxes: Boxes | None = None) -> Sweep:
    """A road with one car upon it, and one camera."""
    rng = np.random.default_rng(number)
    road = np.c_[rng.uniform(-40, 40, (3000, 2)), np.full(3000, -1.84)]
    car = rng.uniform([8, 8, -1.5], [12, 10, -0.2], (200, 3))
    points = np.zeros((3200, 5), np.float32)
    points[:, :3] = np.concatenate([road, car])
    points.tofile(folder / f"{number}.bin")
    image = folder / f"{number}.png"
    Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((80, 60)).save(image)
    pose = np.eye(4)
    lidar = np.eye(4)
    lidar[2, 3] = height
    camera = Camera("CAM_FRONT", image, (80, 60), np.eye(3), np.eye(4), pose, number)
    return Sweep(
        token=f"token-{number}",
        scene="scene",
        timestamp=number,
        is_key_frame=True,
        path=folder / f"{number}.bin",
        lidar_format="nuscenes",
        ego_SE3_lidar=lidar,
        world_SE3_ego=pose,
        split="train",
        cameras=(camera,),
        boxes=boxes,
    )


def car_box() -> Boxes:
    return Boxes(
        centers=np.array([[10.0, 9.0, -0.85]]),
        sizes=np.array([[4.2, 2.2, 1.5]]),
        yaws=np.zeros(1),
        velocities=np.zeros((1, 2)),
        names=("vehicle.car",),
        tracks=("a",),
        num_lidar_pts=np.array([200]),
        attributes=("",),
    )


def test_builds_and_resumes(tmp_path: Path) -> None:
    sweeps = [make_sweep(tmp_path, n, boxes=car_box()) for n in range(5)]
    kinds = {"clusters": RegionParams(), "superpixels": SLIC}
    done: list[int] = []
    with ThreadPoolExecutor(2) as executor:
        first = build_regions(
            alone(sweeps[:3]), tmp_path / "c", kinds, executor, in_flight=2, on_done=lambda: done.append(1)
        )
        second = build_regions(alone(sweeps), tmp_path / "c", kinds, executor)
        other = build_regions(
            alone(sweeps), tmp_path / "c", {"clusters": RegionParams(cluster_eps=1.0)}, executor
        )
    assert len(done) == 3
    assert not first.failures
    assert first.computed == {"clusters": 3, "superpixels": 3}
    assert second.computed == {"clusters": 2, "superpixels": 2}
    assert second.reused == {"clusters": 3, "superpixels": 3}
    assert other.computed == {"clusters": 5}, "another parameter does not meet the old cache"
    values = second.statistics()["clusters"]
    assert values["sweeps"] == 5
    assert values["regions per sweep"] == 1
    assert values["recall of boxes"] == 1
    assert second.statistics()["superpixels"]["images"] == 5

    regions = open_cache(tmp_path / "c", "clusters").load("token-3")
    points = load_points(sweeps[3].path, "nuscenes")
    np.testing.assert_array_equal(regions, lidar_regions(points, 1.84))
    ids = open_cache(tmp_path / "c", "superpixels", SLIC).load_all("token-3")
    assert list(ids) == ["CAM_FRONT"]
    assert ids["CAM_FRONT"].shape == (60, 80)
    assert ids["CAM_FRONT"].dtype == np.int16


def test_a_bad_sweep_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    sweeps = [make_sweep(tmp_path, n) for n in range(4)] + [make_sweep(tmp_path, 9, height=0.0)]
    sweeps[1].path.write_bytes(b"123")
    sweeps[2].cameras[0].path.unlink()
    with ThreadPoolExecutor(2) as executor:
        kinds = {"clusters": RegionParams(), "superpixels": SLIC}
        summary = build_regions(alone(sweeps), tmp_path / "c", kinds, executor)
        told = build_regions(
            alone(sweeps[4:]), tmp_path / "c", {"clusters": RegionParams(sensor_height=1.84)}, executor
        )
    failed = {(f.token, f.kind): f.error for f in summary.failures}
    assert set(failed) == {("token-1", "clusters"), ("token-2", "superpixels"), ("token-9", "clusters")}
    assert "1.bin" in failed["token-1", "clusters"]
    assert "2.png" in failed["token-2", "superpixels"]
    assert "--sensor-height" in failed["token-9", "clusters"]
    assert summary.computed == {"clusters": 3, "superpixels": 4}
    assert not told.failures


def run_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "data_prep" / "regions.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)


def test_script(tmp_path: Path) -> None:
    from pc3d.data.index import write_index

    sweeps = [make_sweep(tmp_path, n, boxes=car_box()) for n in range(3)]
    write_index(
        tmp_path / "index", sweeps, {"dataset": "own", "root": str(tmp_path), "rebuild": "make it again"}
    )
    arguments = (tmp_path / "index", "--out", tmp_path / "c", "--workers", 1, "--kinds", "clusters")
    result = run_script(*arguments, "--cluster-eps", 0.8)
    assert result.returncode == 0, result.stderr
    assert "3 sweeps computed" in result.stdout
    written = json.loads((tmp_path / "c" / "statistics.json").read_text())
    (entry,) = written.values()
    assert entry["statistics"]["regions per sweep"] == 1
    assert entry["parameters"]["cluster_eps"] == 0.8
    assert entry["made from labels"] is False
    assert not open_cache(tmp_path / "c", "clusters").has("token-0")
    assert open_cache(tmp_path / "c", "clusters", RegionParams(cluster_eps=0.8)).has("token-0")

    sweeps[1].path.write_bytes(b"123")
    result = run_script(*arguments)
    assert result.returncode == 2
    assert "token-1" in result.stdout
    first, second = json.loads((tmp_path / "c" / "statistics.json").read_text()).values()
    assert first == entry, "statistics of other parameters stay"
    assert [failure["token"] for failure in second["failures"]] == ["token-1"]


@pytest.mark.parametrize(
    ("arguments", "words"), [(["nowhere", "--out", "c"], "no index"), (["--help"], "examples:")]
)
def test_script_speaks_plainly(arguments: list[str], words: str) -> None:
    result = run_script(*arguments)
    assert words in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_the_examples_of_the_help_are_understood() -> None:
    parser = parser_of("regions", "pc3d regions")
    lines = regions.EXAMPLES.replace("\\\n", "").splitlines()
    commands = [line.split()[2:] for line in lines if line.startswith("  pc3d ")]
    assert len(commands) >= 5
    for command in commands:
        args = parser.parse_args(command)
        kinds = {kind: regions._params(kind, args) for kind in args.kinds}
        assert all(type(params) is KINDS[kind].params for kind, params in kinds.items())
    assert kinds["tracks"].sensor_height == kinds["supervoxels"].sensor_height == 1.8
    args = parser.parse_args(["i", "--out", "c", "--kinds", "all"])
    assert {kind: regions._params(kind, args) for kind in KINDS} == {k: v.params() for k, v in KINDS.items()}


def test_the_script_says_that_the_oracle_is_labels(tiny_index: Path, tmp_path: Path) -> None:
    arguments = ("--split", "sim_val", "--workers", 1, "--kinds", "semantics", "--semantics-source", "oracle")
    result = run_script(tiny_index, "--out", tmp_path, *arguments)
    assert result.returncode == 0, result.stderr
    assert "warning: semantics of source 'oracle' are labels" in " ".join(result.stderr.split())
    (entry,) = json.loads((tmp_path / "statistics.json").read_text()).values()
    assert entry["made from labels"] is True
    assert entry["statistics"]["purity against labels"] == 1
