"""The BEVFusion layout: which branches there are, what reads what, where maps lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pc3d.data.batch import Needs
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameConfig, FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.data.transforms import PointAugmentation
from pc3d.models.bev.network import BevNetwork
from pc3d.objectives.encodings import Encodings

GRID = {"x_min": -24.0, "x_max": 24.0, "y_min": -24.0, "y_max": 24.0, "cell": 1.0}
LIDAR = {
    "type": "PointPillars",
    "pillar_channels": 4,
    "bev_widths": (4, 4),
    "bev_layers": (1, 1),
    "bev_channels": 8,
    "grid": GRID,
}
IMAGE = {"type": "EfficientNetLite0", "levels": (8, 16), "pretrained": False, "frozen": False}
CAMERA = {"type": "LSS", "bev_channels": 6, "depth": (1.0, 30.0, 2.0), "grid": GRID}


@pytest.fixture(scope="module")
def frame(tiny_index: Path):
    turned = PointAugmentation(rotation=(1.0, 1.0), scale=(1.1, 1.1), flip=0.0)
    config = FrameConfig(image_size=(64, 128), augmentation=(turned,))
    dataset = FrameDataset(SweepIndex.open(tiny_index), Needs(images=True), rows=[0], config=config)
    return collate([dataset[0]])


@pytest.mark.parametrize(
    ("branches", "width"),
    [
        ({"lidar": LIDAR}, 8),
        ({"lidar": None, "image": IMAGE, "camera": CAMERA}, 6),
        ({"lidar": LIDAR, "image": IMAGE, "camera": CAMERA}, 14),
    ],
)
def test_every_choice_of_branches_gives_a_map_and_trains_all_of_it(frame, branches, width) -> None:
    network = BevNetwork(**branches, fused_channels=10, widths=(8, 8), layers=(1, 1), channels=12)
    assert network.fuser[0].in_channels == width
    bev = network(frame.now)
    assert bev.shape == (1, 12, 48, 48)
    assert network.channels == 12
    bev.square().mean().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None}
    assert not without


def test_the_camera_map_is_the_one_that_pretraining_reads(frame) -> None:
    network = BevNetwork(LIDAR, IMAGE, CAMERA, fused_channels=4).eval()
    encodings = Encodings(frame, network.lidar, network.image, network.camera)
    with torch.no_grad():
        maps = torch.cat((encodings.lidar().bev, encodings.camera_bev()), dim=1)
        torch.testing.assert_close(network(frame.now), network.fuser(maps))


def test_a_network_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no branch"):
        BevNetwork(None)
    with pytest.raises(ValueError, match="set both"):
        BevNetwork(LIDAR, IMAGE)
    with pytest.raises(ValueError, match="different grids"):
        BevNetwork(LIDAR, IMAGE, {**CAMERA, "grid": {**GRID, "cell": 2.0}})


def test_a_frame_without_images_is_refused(tiny_index: Path) -> None:
    dataset = FrameDataset(SweepIndex.open(tiny_index), Needs(), rows=[0])
    network = BevNetwork(LIDAR, IMAGE, CAMERA, fused_channels=4)
    with pytest.raises(ValueError, match="without any"):
        network(collate([dataset[0]]).now)
