"""Sweeps of an index as pictures, and the command that draws them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CATEGORIES
from pc3d.data.points import load_sweep
from pc3d.data.records import Boxes, Camera, Sweep
from pc3d.data.region_cache import RegionCache
from pc3d.geometry.rigid import make_SE3, yaw_matrix
from pc3d.viz.class_colours import LIDARSEG_PALETTE
from pc3d.viz.colours import NEUTRAL, categorical_colours, pca_colours, similarity_colours
from pc3d.viz.sweep_colours import ColourOptions, encode, point_colours
from pc3d.viz.sweep_view import draw_camera, draw_flat, sweep_scene

TOOL = Path(__file__).resolve().parents[2] / "tools" / "visualize.py"
LABELS = ColourOptions("label", classes=load_class_set("nuscenes"))
POLE = np.array([20.0, 5.0])  # in the world; the car drives along +x, 1 m a sweep


def points_at(step: int) -> np.ndarray:
    """A road patch and a pole in the LiDAR frame, which stands 1.8 m above the road and looks sideways."""
    rng = np.random.default_rng(step)
    road = np.column_stack([rng.uniform(-15, 15, (300, 2)), np.full(300, -1.8)])
    pole_ego = np.column_stack([np.tile(POLE - [step, 0], (60, 1)), np.linspace(0.3, 3, 60)])
    pole = (pole_ego - [0, 0, 1.8]) @ yaw_matrix(-np.pi / 2)
    xyz = np.vstack([road, pole])
    return np.column_stack([xyz, np.linspace(0, 255, 360), np.zeros(360)]).astype(np.float32)


def make_sweep(root: Path, step: int) -> Sweep:
    pose = make_SE3(np.eye(3), [float(step), 0.0, 0.0])
    camera = Camera(
        name="FRONT",
        path=root / "front.png",
        size=(320, 180),
        intrinsics=np.array([[160.0, 0, 160], [0, 160, 90], [0, 0, 1]]),
        ego_SE3_cam=make_SE3([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0, 0, 1.8]),
        world_SE3_ego=pose,
        timestamp=step * 50_000,
    )
    box = Boxes(
        centers=np.array([[0.0, 8.0, -1.0]]),
        sizes=np.array([[4.0, 2.0, 1.6]]),
        yaws=np.array([np.pi / 2]),
        velocities=np.zeros((1, 2)),
        names=("vehicle.car",),
        tracks=("t",),
        num_lidar_pts=np.array([0]),
        attributes=("",),
    )
    key = step == 2
    return Sweep(
        token=f"sweep{step}",
        scene="scene",
        timestamp=step * 50_000,
        is_key_frame=key,
        path=root / f"{step}.bin",
        lidar_format="nuscenes",
        ego_SE3_lidar=make_SE3(yaw_matrix(-np.pi / 2), [0.0, 0.0, 1.8]),
        world_SE3_ego=pose,
        split="train",
        cameras=(camera,) if key else (),
        boxes=box if key else None,
        lidarseg_path=root / "labels.bin" if key else None,
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> SweepIndex:
    root = tmp_path_factory.mktemp("viz")
    for step in range(3):
        points_at(step).tofile(root / f"{step}.bin")
    categories = ["flat.driveable_surface"] * 300 + ["static.vegetation"] * 50 + ["noise"] * 10
    np.array([NUSCENES_LIDARSEG_CATEGORIES.index(name) for name in categories], np.uint8).tofile(
        root / "labels.bin"
    )
    Image.new("RGB", (320, 180), (128, 128, 128)).save(root / "front.png")
    classes = load_class_set("nuscenes").to_dict()
    facts = {"dataset": "test", "root": str(root), "rebuild": "-", "classes": classes}
    return SweepIndex.open(write_index(root / "index", [make_sweep(root, s) for s in range(3)], facts))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from pc3d.models.lidar import build_lidar_encoder
    from pc3d.models.weights import save_backbone

    config = {"type": "MinkUNet", "depth": 18, "widths": [8] * 8, "stem": 8, "bev_channels": 8}
    path = tmp_path_factory.mktemp("run") / "backbone.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_backbone(build_lidar_encoder(config), path, {"lidar": json.dumps(config)})
    return path


def test_earlier_sweeps_are_moved_by_the_poses(index: SweepIndex) -> None:
    """The pole stands still, so all sweeps show it at the same place."""
    scene = sweep_scene(index, 2, ColourOptions(), sweeps=5)
    assert len(scene.clouds) == 2
    now = scene.points[300:, :3]
    for points, colours in scene.clouds:
        np.testing.assert_allclose(points[-60:, :3], now, atol=1e-4)
        assert len(points) == len(colours) < len(scene.points), "without the vehicle's own returns"
    assert scene.heading == pytest.approx(np.pi / 2)
    assert scene.ground == pytest.approx(-1.8)


def test_sweeps_without_poses_are_refused(index: SweepIndex, tmp_path: Path) -> None:
    still = [replace(index[row], world_SE3_ego=np.eye(4)) for row in range(3)]
    facts = {"dataset": "test", "root": str(index.root), "rebuild": "-"}
    other = SweepIndex.open(write_index(tmp_path / "index", still, facts))
    with pytest.raises(DataError, match="poses of the sweeps are all the same"):
        sweep_scene(other, 2, ColourOptions(), sweeps=2)


def test_colours_by_label(index: SweepIndex) -> None:
    colours = sweep_scene(index, 2, LABELS).colours
    assert (colours[:300] == LIDARSEG_PALETTE["driveable_surface"]).all()
    assert (colours[300:350] == LIDARSEG_PALETTE["vegetation"]).all()
    assert (colours[350:] == NEUTRAL).all()
    with pytest.raises(DataError, match=r"no point labels[\s\S]*--key-frames"):
        sweep_scene(index, 0, LABELS)


def test_colours_by_region_of_the_cache(index: SweepIndex, tmp_path: Path) -> None:
    regions = np.repeat([-1, 4, 5], [300, 40, 20]).astype(np.int16)
    RegionCache(tmp_path, "clusters", {"eps": 1}).save("sweep2", regions)
    options = ColourOptions("region", regions=tmp_path)
    np.testing.assert_array_equal(sweep_scene(index, 2, options).colours, categorical_colours(regions))
    with pytest.raises(DataError, match="0 of the 1 cluster caches hold the sweep"):
        sweep_scene(index, 1, options)
    RegionCache(tmp_path, "clusters", {"eps": 2}).save("sweep2", regions)
    with pytest.raises(DataError, match="2 of the 2"):
        sweep_scene(index, 2, options)


def test_regions_without_a_cache_are_made(index: SweepIndex) -> None:
    colours = sweep_scene(index, 2, ColourOptions("region")).colours
    assert (colours[:300] == NEUTRAL).all(), "the road is no region"


def test_colours_by_features(index: SweepIndex, checkpoint: Path) -> None:
    points = points_at(2)
    points[:, 3] /= 255
    features, valid = encode(points, ColourOptions("pca", checkpoint=checkpoint))
    assert features.shape == (360, 8)
    assert valid.all()
    sweep = index[2]
    got = point_colours(points, sweep, ColourOptions("pca", checkpoint=checkpoint))
    np.testing.assert_array_equal(got, pca_colours(features))
    anchor = ColourOptions("similarity", checkpoint=checkpoint, anchor=tuple(points[17, :2].tolist()))
    np.testing.assert_array_equal(point_colours(points, sweep, anchor), similarity_colours(features, 17))
    with pytest.raises(DataError, match="needs a checkpoint"):
        point_colours(points, sweep, ColourOptions("pca"))
    with pytest.raises(DataError, match="no checkpoint"):
        point_colours(points, sweep, ColourOptions("pca", checkpoint=checkpoint.with_name("none")))


def test_camera_picture_shows_the_pole_where_it_stands(index: SweepIndex, tmp_path: Path) -> None:
    scene = sweep_scene(index, 2, LABELS)
    draw_camera(index[2], scene, "FRONT", tmp_path / "c.png")
    picture = np.asarray(Image.open(tmp_path / "c.png")).astype(int)
    rows, cols = np.nonzero(np.abs(picture - LIDARSEG_PALETTE["vegetation"]).max(axis=-1) < 40)
    # 18 m ahead and 5 m to the left, from the road to above the camera; the picture is 3.75 times as large.
    assert cols.mean() / 3.75 == pytest.approx(160 - 160 * 5 / 18, abs=1)
    assert rows.max() / 3.75 == pytest.approx(90 + 160 * 1.5 / 18, abs=1.5)
    with pytest.raises(DataError, match="cameras of this sweep: FRONT"):
        draw_camera(index[2], scene, "BACK", tmp_path / "c.png")


def test_flat_picture_has_the_colours_of_its_labels(index: SweepIndex, tmp_path: Path) -> None:
    options = LABELS
    draw_flat(sweep_scene(index, 2, options, boxes=True), tmp_path / "f.png", options, extent=20)
    picture = np.asarray(Image.open(tmp_path / "f.png")).astype(int)
    for name in ("driveable_surface", "vegetation", "car"):
        assert (np.abs(picture - LIDARSEG_PALETTE[name]).max(axis=-1) < 25).sum() > 50, name


def test_the_legend_of_a_flat_picture_has_points_and_boxes(
    index: SweepIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = sweep_scene(index, 2, LABELS, boxes=True)
    assert scene.boxes is not None
    drawn: list[dict[str, tuple[int, ...]]] = []
    monkeypatch.setattr("pc3d.viz.sweep_view.bev", lambda *_, legend, **__: drawn.append(legend))
    for name in ("vehicle.car", "unheard"):
        boxes = replace(scene.boxes, names=(name,))
        draw_flat(replace(scene, boxes=boxes), tmp_path / "f.png", LABELS)
    ground = {name: LIDARSEG_PALETTE[name] for name in ("driveable_surface", "vegetation")}
    assert drawn[0] == {**ground, "car": LIDARSEG_PALETTE["car"]}
    assert drawn[1] == {**ground, "no class": NEUTRAL}


def run_tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def test_the_command_writes_a_picture(index: SweepIndex, tmp_path: Path) -> None:
    out = tmp_path / "folder" / "picture.png"
    done = run_tool(
        index.folder, "--token", "sweep2", "--view", "flat", "--sweeps", 2, "--boxes", "--out", out
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(out).size == (1400, 1400)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--row", 3, "--out", "x.png"], "rows 0 to 2"),
        (["--token", "nobody", "--out", "x.png"], "no sweep has the token 'nobody'"),
        (["--view", "flat"], "give --out"),
        (["--boxes", "--view", "flat", "--out", "x.png"], "the sweep has no boxes"),
    ],
)
def test_the_command_says_what_is_wrong(index: SweepIndex, arguments: list, message: str) -> None:
    done = run_tool(index.folder, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_network_with_statistics_as_input_columns_is_drawn_as_it_was_trained(
    index: SweepIndex, tmp_path: Path
) -> None:
    """Its features are those of the frames that a loader makes."""
    import torch

    from pc3d.data.frame_types import FrameConfig
    from pc3d.evaluation.protocol.data import ProbeData
    from pc3d.evaluation.protocol.features import of_encoder
    from pc3d.models.lidar import build_lidar_encoder
    from pc3d.models.weights import save_backbone

    config = {
        "type": "MinkUNet",
        "depth": 18,
        "widths": [4] * 8,
        "stem": 4,
        "bev_channels": 8,
        "in_channels": 17,
    }
    columns = ("intensity", "statistics")
    encoder = build_lidar_encoder(config).eval()
    path = tmp_path / "backbone.safetensors"
    about = {"lidar": json.dumps(config), "frames": json.dumps({"features": columns})}
    save_backbone(encoder, path, about)
    points = load_sweep(index[2])
    rows, labels = (np.arange(len(points)),), np.zeros(len(points), dtype=np.int64)
    data = ProbeData(index, (index[2].token,), rows, labels, ("road",))
    loaded = of_encoder(data, encoder, frames=FrameConfig(features=columns))
    features, valid = encode(points, ColourOptions("pca", checkpoint=path))
    assert valid.tolist() == loaded.seen.tolist()
    expected = torch.nn.functional.normalize(torch.from_numpy(loaded.values[valid]), dim=1)
    np.testing.assert_allclose(features[valid], expected.numpy(), atol=1e-5)
