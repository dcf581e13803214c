"""The probe of BEV maps: drawn cells and their classes, features of maps, scores, the table of runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_models import PILLARS
from torch import Tensor, nn

from pc3d.data.batch import Needs, PointView
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.map_targets import MAP_CLASSES, scene_maps
from pc3d.data.points import load_sweep
from pc3d.data.transforms import PointAugmentation
from pc3d.evaluation.protocol.bev import MASKS, BevData, cell_centres, draw_cells, probe_cells
from pc3d.evaluation.protocol.bev_features import (
    POSITION,
    lidar_statistics,
    of_camera_map,
    of_lidar_map,
    position,
)
from pc3d.evaluation.protocol.bev_table import Branches, bev_markdown, bev_table
from pc3d.evaluation.protocol.data import spread_key_frames
from pc3d.geometry.grid import BevGrid
from pc3d.models.bev import build_view_transform
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures
from pc3d.models.weights import save_backbone

GRID = BevGrid(-24.0, 24.0, -24.0, 24.0, 1.0)


@pytest.fixture(scope="module")
def index(tiny_index: Path) -> SweepIndex:
    return SweepIndex.open(tiny_index)


@pytest.fixture(scope="module")
def data(index: SweepIndex) -> BevData:
    return draw_cells(index, spread_key_frames(index, "sim_train", 2), GRID, 400, reach=20.0)


@pytest.fixture(scope="module")
def val(index: SweepIndex) -> BevData:
    return draw_cells(index, spread_key_frames(index, "sim_val", 2), GRID, 400, reach=20.0)


def test_cells_are_of_the_map_and_of_boxes(index: SweepIndex, data: BevData) -> None:
    start = 0
    for token, xy in zip(data.tokens, data.xy, strict=True):
        sweep = index[index.row_of(token)]
        targets = data.targets[start : start + len(xy)]
        start += len(xy)
        masks = scene_maps(index)[sweep.scene].targets(sweep.world_SE3_ego @ sweep.ego_SE3_lidar, GRID)
        col, row = np.floor(xy[:, 0] + 24).astype(int), np.floor(xy[:, 1] + 24).astype(int)
        np.testing.assert_array_equal(targets[:, :6], masks[:, row, col].T)
        # Objects: one cell and one box after the other, in float64.
        boxes = sweep.boxes
        for column, kind in ((6, "vehicle."), (7, "human.pedestrian.")):
            expected = [any(_on(cell, boxes, n, kind) for n in range(len(boxes.names))) for cell in xy]
            np.testing.assert_array_equal(targets[:, column], expected)
    assert data.targets[:, :6].any()
    assert data.targets[:, 6].any()


def _on(cell: NDArray, boxes, n: int, kind: str) -> bool:  # type: ignore[no-untyped-def]
    if not boxes.names[n].startswith(kind) or boxes.num_lidar_pts[n] == 0:
        return False
    offset = cell.astype(np.float64) - boxes.centers[n, :2]
    along = np.array([np.cos(boxes.yaws[n]), np.sin(boxes.yaws[n])])
    across = np.array([-along[1], along[0]])
    inside = abs(offset @ along) <= boxes.sizes[n, 0] / 2 and abs(offset @ across) <= boxes.sizes[n, 1] / 2
    return bool(inside or (np.abs(offset) <= 0.5).all())


def test_a_draw_depends_on_its_sweep_alone(index: SweepIndex, data: BevData) -> None:
    alone = draw_cells(index, data.tokens[1:], GRID, 400, reach=20.0)
    np.testing.assert_array_equal(alone.xy[0], data.xy[1])
    np.testing.assert_array_equal(alone.targets, data.targets[len(data.xy[0]) :])
    fewer = draw_cells(index, data.tokens[1:], GRID, 100, reach=20.0)
    assert {tuple(c) for c in fewer.xy[0]} < {tuple(c) for c in alone.xy[0]}
    other = draw_cells(index, data.tokens[1:], GRID, 400, reach=20.0, seed=1)
    assert (other.xy[0] != alone.xy[0]).any()
    for xy in data.xy:
        assert len(np.unique(xy, axis=0)) == len(xy) == 400
        assert (np.hypot(*xy.T) <= 20).all()
        np.testing.assert_array_equal(xy % 1, 0.5)


def test_centres_follow_the_grid() -> None:
    grid = BevGrid(0.0, 3.0, -2.0, 2.0, 1.0)
    expected = [(col + 0.5, row - 1.5) for row in range(4) for col in range(3)]
    np.testing.assert_array_equal(cell_centres(grid), expected)


@pytest.mark.parametrize(
    ("cells", "reach", "tokens"), [(0, 20.0, 1), (10, 0.1, 1), (10, 20.0, 0), (10, 20.0, 2)]
)
def test_an_empty_draw_is_refused(
    index: SweepIndex, data: BevData, cells: int, reach: float, tokens: int
) -> None:
    with pytest.raises(ValueError, match="cell"):
        draw_cells(index, (data.tokens[0],) * tokens, GRID, cells, reach)


def test_position(data: BevData) -> None:
    for (x, y), row in zip(np.concatenate(data.xy), position(data), strict=True):
        r = (x**2 + y**2) ** 0.5
        np.testing.assert_allclose(row, [x, y, abs(x), abs(y), r, x / r, y / r], rtol=1e-5)
    assert len(POSITION) == 7


def test_statistics_of_points(index: SweepIndex, data: BevData) -> None:
    found = lidar_statistics(data)[: len(data.xy[0])]
    points = load_sweep(index[index.row_of(data.tokens[0])]).astype(np.float64)
    occupied = 0
    for (x, y), row in zip(data.xy[0][::7], found[::7], strict=True):
        for half, got in ((0.5, row[:6]), (2.5, row[6:])):
            lower, upper = np.array([x, y]) - half, np.array([x, y]) + half
            inside = (points[:, :2] >= lower) & (points[:, :2] < upper)
            inside &= (points[:, :2] >= -24) & (points[:, :2] < 24)  # the grid ends there
            z = points[inside.all(axis=1), 2]
            i = points[inside.all(axis=1), 3]
            expected = [1, np.log1p(len(z)), z.min(), z.max(), z.mean(), i.mean()] if len(z) else [0] * 6
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
            occupied += len(z) > 0
    assert occupied > 20


class OfTruth(LidarEncoder):
    """A map that shows what a table says; it stands for a perfect one."""

    def __init__(self, maps: dict[bytes, Tensor]) -> None:
        super().__init__()
        self.point_channels, self.bev_channels, self.grid, self.maps = 8, 8, GRID, maps

    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        bev = self.maps[view.points[:5].numpy().tobytes()]
        return LidarFeatures(view.points, torch.ones(len(view.points), dtype=torch.bool), bev[None])


def truth(index: SweepIndex, *parts: BevData) -> OfTruth:
    maps = {}
    for part in parts:
        whole = draw_cells(index, part.tokens, GRID, 48 * 48, reach=100.0)
        for number, token in enumerate(part.tokens):
            key = load_sweep(index[index.row_of(token)])[:5].tobytes()
            of_sweep = whole.targets[number * 48 * 48 : (number + 1) * 48 * 48]
            maps[key] = torch.from_numpy(of_sweep.T.reshape(8, 48, 48)).float()
    return OfTruth(maps)


def test_a_map_that_holds_the_truth_scores_one(index: SweepIndex, data: BevData, val: BevData) -> None:
    encoder = truth(index, data, val)
    scores = probe_cells(
        of_lidar_map(data, encoder), data.targets, of_lidar_map(val, encoder), val.targets, c=1e4
    )
    known = {name: mask for name, mask in scores["masks"].items() if not np.isnan(mask["ap"])}
    assert len(known) >= 4
    for mask in known.values():
        assert mask["converged"]
        assert mask["iou"] == mask["ap"] == 1.0
    assert scores["means"]["map"]["ap"] == 1.0


def test_position_is_scored_as_scikit_learn_scores_it(data: BevData, val: BevData) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    a, b = position(data).astype(np.float64), position(val).astype(np.float64)
    scores = probe_cells(a, data.targets, b, val.targets)
    scaler = StandardScaler().fit(a)
    checked = 0
    for k, name in enumerate(MASKS):
        train, truth = data.targets[:, k], val.targets[:, k]
        assert scores["masks"][name]["share"] == truth.mean()
        if not (train.any() and truth.any()):
            assert np.isnan(scores["masks"][name]["ap"])
            continue
        model = LogisticRegression(C=2.0, tol=1e-8, max_iter=5000).fit(scaler.transform(a), train)
        p = model.predict_proba(scaler.transform(b))[:, 1]
        found = p >= 0.5
        assert scores["masks"][name]["iou"] == pytest.approx((found & truth).sum() / (found | truth).sum())
        assert scores["masks"][name]["ap"] == pytest.approx(_average_precision(truth, p), abs=2e-3)
        checked += 1
    assert checked >= 4


def _average_precision(truth: NDArray[np.bool_], p: NDArray) -> float:
    """By its definition, threshold by threshold."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(p), reverse=True):
        hits, found = (truth & (p >= threshold)).sum(), (p >= threshold).sum()
        area += (hits / truth.sum() - recall) * hits / found
        recall = hits / truth.sum()
    return area


def test_a_mask_that_one_part_lacks_is_left_out_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 2)), rng.normal(size=(40, 2))
    train, val = np.column_stack([x[:, 0] > 0, x[:, 0] > 9]), np.column_stack([y[:, 0] > 0, y[:, 0] > 0])
    scores = probe_cells(x, train, y, val, ("a", "b"), {"both": ("a", "b"), "none": ("b",)})
    assert np.isnan(scores["masks"]["b"]["ap"])
    assert scores["means"]["both"]["ap"] == scores["masks"]["a"]["ap"] > 0.9
    assert np.isnan(scores["means"]["none"]["iou"])
    with pytest.raises(ValueError, match="masks of shapes"):
        probe_cells(x, train[:, :1], y, val, ("a", "b"), {})


class Colours(ImageEncoder):
    """The mean colours of patches of 16 pixels, under a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.stride = 3, 16
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(nn.functional.avg_pool2d(images, 16))


def test_camera_map_is_read_where_its_cells_are(index: SweepIndex, data: BevData) -> None:
    image = Colours()
    torch.manual_seed(0)
    config = {"type": "LSS", "bev_channels": 4, "depth": (1.0, 25.0, 2.0), "grid": GRID}
    camera = build_view_transform(config, image)
    frames = FrameConfig(image_size=(64, 128), augmentation=(PointAugmentation(rotation=(1.0, 1.0)),))
    found = of_camera_map(data, image, camera, frames)
    batch = collate(
        [
            FrameDataset(
                index, Needs(images=True), tokens=data.tokens, config=FrameConfig(image_size=(64, 128))
            )[1]
        ]
    )
    frame = batch.now
    with torch.no_grad():
        bev = camera.eval()(
            image.eval()(frame.pictures()),
            frame.intrinsics,
            frame.cam_SE3_lidar,
            frame.camera_mask,
            (64, 128),
        )
    col, row = (np.floor(data.xy[1][:, k] + 24).astype(int) for k in (0, 1))
    np.testing.assert_allclose(found[400:], bev[0].numpy()[:, row, col].T, rtol=1e-4, atol=1e-5)


def test_estimated_statistics_are_those_of_the_sweeps_and_are_put_back(data: BevData) -> None:
    image = Colours()
    config = {"type": "LSS", "bev_channels": 4, "depth": (1.0, 25.0, 2.0), "grid": GRID}
    camera = build_view_transform(config, image)
    frames = FrameConfig(image_size=(64, 128))
    branch = nn.ModuleList([image, camera])
    before = {name: value.clone() for name, value in branch.state_dict().items()}
    modes = [module.training for module in branch.modules()]
    plain = of_camera_map(data, image, camera, frames)
    estimated = of_camera_map(data, image, camera, frames, estimate_on=data)
    for name, value in branch.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [module.training for module in branch.modules()] == modes
    assert not np.allclose(plain, estimated)


def save_run(folder: Path, trained: tuple[str, ...] = ("lidar", "image", "camera")) -> Branches:
    """A run folder with random weights of the parts that it trained."""
    depth, grid = (1.0, 25.0, 2.0), PILLARS["grid"]
    backbone = {"type": "EfficientNetLite0", "levels": (8, 16), "pretrained": False}
    settings = {
        "data": {"image_size": (64, 128)},
        "lidar": PILLARS,
        "image": {"type": "FPN", "backbone": backbone, "channels": 4},
        "camera": {"type": "LSS", "bev_channels": 4, "depth": depth, "grid": grid},
    }
    folder.mkdir(parents=True)
    (folder / "config.py").write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
    branches = Branches.of(folder, seed=7)
    files = {"lidar": "backbone", "image": "image_backbone", "camera": "camera"}
    for part in trained:
        save_backbone(getattr(branches, part), folder / f"{files[part]}.safetensors", {})
    return branches


def test_branches_have_the_weights_of_the_run(tmp_path: Path) -> None:
    saved = save_run(tmp_path / "a", ("lidar", "camera"))
    loaded = Branches.of(tmp_path / "a", seed=1)
    assert loaded.trained == {"lidar", "camera"}
    for part, same in (("lidar", True), ("camera", True), ("image", False)):
        pairs = zip(getattr(saved, part).parameters(), getattr(loaded, part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == same, part
    other = Branches.of(tmp_path / "a", load=False, seed=7)
    assert other.trained == frozenset()
    assert torch.equal(next(other.image.parameters()), next(saved.image.parameters()))
    assert loaded.frames.image_size == (64, 128)


def test_table_of_a_run(index: SweepIndex, tmp_path: Path) -> None:
    save_run(tmp_path / "a")
    table = bev_table(index, {"a": tmp_path / "a"}, sweeps=(1, 1), cells_per_sweep=150, reach=20.0)
    json.dumps(table, allow_nan=False)
    rows = table["rows"]
    expected = ["position of the cell", "statistics of its points", "untrained camera branch"]
    assert [name for name in rows if "beside" not in name][:3] == expected
    assert {"a: camera", "a: LiDAR", "a: camera, position of the cell beside"} <= set(rows)
    assert rows["a: camera"]["columns"] == 4
    assert rows["a: camera, position of the cell beside"]["columns"] == 11
    text = bev_markdown(table)
    assert text.count("\n| ") == len(rows) + 2
    for name in (*MAP_CLASSES, "vehicle"):
        assert f" {name} |" in text
    with pytest.raises(ValueError, match="no run"):
        bev_table(index, {})


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    from pc3d.data.errors import DataError

    with pytest.raises(DataError, match="no pretraining run"):
        Branches.of(tmp_path)
    (tmp_path / "config.py").write_text(f"lidar = {PILLARS!r}\n")
    with pytest.raises(DataError, match="no camera branch"):
        Branches.of(tmp_path)
