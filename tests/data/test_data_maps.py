"""Maps out of the loader: they lie under the points of the same view, whatever its augmentation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("nuscenes")

from pc3d.data.batch import Batch, Needs
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import DataError
from pc3d.data.frames import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.index_hashes import seal
from pc3d.data.map_targets import MAP_CLASSES, MapRasteriser
from pc3d.data.transforms import PointAugmentation
from pc3d.geometry.grid import BevGrid

WILD = PointAugmentation(rotation=(-np.pi, np.pi), scale=(0.8, 1.25), flip=0.5)
NEEDS = Needs(maps=True, labels=True)


def load(index: SweepIndex, config: FrameConfig, needs: Needs = NEEDS, seed: int = 0) -> Batch:
    dataset = FrameDataset(index, needs, rows=index.key_rows(None)[:4], config=config, seed=seed)
    return collate([dataset[position] for position in range(len(dataset))])


def grown(masks: torch.Tensor, cells: int) -> torch.Tensor:
    """The masks with every cell within `cells` of one that is set."""
    return F.max_pool2d(masks.float(), 2 * cells + 1, stride=1, padding=cells) > 0


def test_ground_points_lie_on_their_layers(tiny_index: Path) -> None:
    grid = BevGrid(-40.0, 36.0, -30.0, 34.0, 0.25)
    index = SweepIndex.open(tiny_index)
    names = list(index.metadata["classes"]["classes"])
    seen = {"driveable_surface": 0, "sidewalk": 0}
    mirrored = set()
    for seed in range(3):
        batch = load(index, FrameConfig(augmentation=(WILD,), map_grid=grid), seed=seed)
        frame, view = batch.now, batch.now.views["a"]
        assert frame.maps is not None
        assert frame.maps.shape == (4, len(MAP_CLASSES), grid.rows, grid.cols)
        assert frame.maps.dtype == torch.bool
        mirrored |= set((torch.linalg.det(view.lidar_SE3[:, :2, :2]) < 0).tolist())
        col = ((view.points[:, 0] - grid.x_min) / grid.cell).floor().long()
        row = ((view.points[:, 1] - grid.y_min) / grid.cell).floor().long()
        inside = (col >= 0) & (col < grid.cols) & (row >= 0) & (row < grid.rows)
        for name, layer, other in (("driveable_surface", 0, 2), ("sidewalk", 2, 0)):
            of_class = inside & (frame.labels[view.row] == names.index(name))
            at = (view.batch[of_class], row[of_class], col[of_class])
            seen[name] += int(of_class.sum())
            # But for the rounding of a cell, the kerb's face and noisy ranges.
            assert grown(frame.maps, 1)[:, layer][at].float().mean() > 0.99
            assert (~grown(~frame.maps, 2))[:, other][at].float().mean() < 0.01
    assert mirrored == {True, False}
    assert min(seen.values()) > 300


def test_without_augmentation_the_map_is_that_of_the_pose(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    batch = load(index, FrameConfig())
    assert batch.now.maps is not None
    assert batch.now.maps.shape[2:] == (200, 200), "BEVFusion's grid is the default"
    for number, meta in enumerate(batch.meta):
        maps = MapRasteriser(index.root, index.metadata["scene_locations"][meta["scene"]])
        expected = maps.targets(batch.now.world_SE3_lidar[number].numpy(), FrameConfig().map_grid)
        np.testing.assert_array_equal(batch.now.maps[number].numpy(), expected)


def test_maps_are_loaded_where_asked_for(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    batch = load(index, FrameConfig(), Needs(maps=True, frames=("t", "t+1", "dense")))
    assert batch.frames["t+1"].maps is None
    assert batch.frames["dense"].maps is None
    assert load(index, FrameConfig(), Needs(labels=True)).now.maps is None
    assert (Needs(labels=True) | Needs(maps=True)).maps


def test_an_index_that_knows_no_locations_must_be_built_again(tiny_index: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_index, tmp_path / "old")
    path = tmp_path / "old" / "metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["scene_locations"]
    path.write_text(json.dumps(seal(metadata)))
    index = SweepIndex.open(tmp_path / "old")
    with pytest.raises(DataError, match="build it again"):
        FrameDataset(index, NEEDS, rows=[0])
    FrameDataset(index, Needs(labels=True), rows=[0])


def test_a_missing_map_is_said_before_training(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index, root=tmp_path)
    with pytest.raises(DataError, match=r"download the nuScenes map expansion"):
        FrameDataset(index, NEEDS, rows=[0])
