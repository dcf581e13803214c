"""Objectives, encoders, heads and readers of the user's own, from the folder where `pc3d` is started."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_settings import QUICK
from safetensors.torch import load_file, save_file

from pc3d.data.build import build_index
from pc3d.data.errors import DataError
from pc3d.data.plugins import Registry, is_plugin, resolve
from pc3d.data.readers import open_reader
from pc3d.engine.checkpoints import load_encoder, load_segmenter
from pc3d.models.weights import read_metadata
from pc3d.processes import worker_pool

MINE = '''
import torch
from torch import Tensor, nn

from pc3d.data.batch import Needs
from pc3d.geometry.grid import BevGrid
from pc3d.models.heads.detections import Detections
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures
from pc3d.objectives.base import Objective


class Encoder(LidarEncoder):
    """A linear layer at each point, and its mean in each cell of a map."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.point_channels = self.bev_channels = width
        self.grid = BevGrid(-48.0, 48.0, -48.0, 48.0, 4.0)
        self.layer = nn.Linear(4, width)

    def forward(self, view, want_bev=True):
        points = self.layer(view.points[:, :4] / 50)
        size, cells = view.size, self.grid.rows * self.grid.cols
        column = ((view.points[:, 0] + 48) / 4).long().clamp(0, self.grid.cols - 1)
        row = ((view.points[:, 1] + 48) / 4).long().clamp(0, self.grid.rows - 1)
        place = view.batch * cells + row * self.grid.cols + column
        bev = points.new_zeros(size * cells, points.shape[1]).index_add(0, place, points)
        bev = bev.view(size, self.grid.rows, self.grid.cols, -1).permute(0, 3, 1, 2)
        return LidarFeatures(points, torch.ones(len(points), dtype=torch.bool), bev)


class Alike(Objective):
    """Two views of a point look alike, and all points together have a spread of 1."""

    needs = Needs(views=2)

    def __init__(self, lidar: LidarEncoder, spread: float = 1.0) -> None:
        super().__init__()
        self.spread, self.head = spread, nn.Linear(lidar.point_channels, 4)

    def forward(self, encodings) -> dict[str, Tensor]:
        views = encodings.batch.now.views
        index = views["b"].index_of_row(encodings.batch.now.num_points)[views["a"].row]
        a = self.head(encodings.lidar("a").points)[index >= 0]
        b = self.head(encodings.lidar("b").points)[index[index >= 0]]
        loss = (a - b).square().mean() + (a.std() - self.spread).square()
        return {"loss": loss, "examples": torch.tensor(float(len(a)))}


class PointHead(nn.Module):
    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(channels, num_classes, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features)


class BoxHead(nn.Module):
    """How many boxes there are; it finds none."""

    labels = frozenset(range(10))

    def __init__(self, in_channels: int, grid: BevGrid, width: int = 3) -> None:
        super().__init__()
        self.width, self.layer = width, nn.Linear(in_channels, 1)

    def forward(self, bev: Tensor) -> Tensor:
        return self.layer(bev.mean(dim=(2, 3)))[:, 0]

    def loss(self, outputs, boxes, labels) -> dict[str, Tensor]:
        counts = outputs.new_tensor([float(len(one)) for one in boxes])
        return {"loss_count": (outputs - counts).square().mean()}

    def decode(self, outputs) -> list[Detections]:
        none = Detections(torch.zeros(0, 9), torch.zeros(0), torch.zeros(0, dtype=torch.long))
        return [none for _ in outputs]
'''
READER = """
from pathlib import Path

import numpy as np

from pc3d.data.records import Sweep


class Reader:
    def __init__(self, root: Path, every: int = 1) -> None:
        self.files = sorted(root.glob("*.bin"))[::every]
        self.metadata = {"dataset": "mine", "root": str(root), "class_names": [], "label_map": None}
        self.findings = []

    def __len__(self):
        return len(self.files)

    def sweeps(self):
        for number, path in enumerate(self.files):
            pose = np.eye(4)
            pose[0, 3] = number
            yield Sweep(
                token=path.stem, scene="drive", timestamp=1_600_000_000_000_000 + 100_000 * number,
                is_key_frame=True, path=path, lidar_format="kitti", ego_SE3_lidar=np.eye(4),
                world_SE3_ego=pose, split="train",
            )
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def config(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def pretrained(folder: Path, pc3d: Callable[..., None], index: Path) -> Path:
    text = (
        '_base_ = "pc3d::pretrain/sim_pointcontrast.py"\n'
        'lidar = dict(_delete_=True, type="mine:Encoder", width=6)\n'
        'objectives = dict(_delete_=True, alike=dict(type="mine:Alike", spread=0.5))\n'
        "expected_losses = []\n"
    )
    path = config(folder, "alike", text)
    pc3d(
        "pretrain",
        path,
        "--work-dir",
        "run",
        "--cfg-options",
        f"data.index={index}",
        *QUICK,
    )
    return folder / "run/backbone.safetensors"


def test_an_objective_and_an_encoder_of_ones_own_are_trained(
    folder: Path, pc3d: Callable[..., None], tiny_index: Path
) -> None:
    backbone = pretrained(folder, pc3d, tiny_index)
    metrics = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [1, 2]
    assert all(line["alike/examples"] > 1000 and np.isfinite(line["alike/loss"]) for line in metrics)
    assert json.loads(read_metadata(backbone)["lidar"]) == {"type": "mine:Encoder", "width": 6}
    encoder = load_encoder(backbone)
    assert sys.modules[type(encoder).__module__].__file__ == str(folder / "mine.py")
    assert torch.equal(encoder.layer.weight, load_file(backbone)["layer.weight"])


def test_heads_of_ones_own_are_trained_on_it(
    folder: Path, pc3d: Callable[..., None], tiny_index: Path
) -> None:
    backbone = pretrained(folder, pc3d, tiny_index)
    lidar = 'lidar = dict(_delete_=True, type="mine:Encoder", width=6)\n'
    points = config(
        folder,
        "points",
        f'_base_ = "pc3d::finetune/sim_5_percent.py"\n{lidar}head = dict(head="mine:PointHead")\n',
    )
    data = [f"data.index={tiny_index}", "data.fraction=none", *QUICK, f"init.checkpoint={backbone}"]
    pc3d("finetune", points, "--work-dir", "points", "--cfg-options", *data)
    segmenter = load_segmenter(folder / "points/segmenter.safetensors")
    assert type(segmenter.head).__name__ == "PointHead"
    assert segmenter.head.layer.weight.shape == (16, 6)

    boxes = config(
        folder,
        "boxes",
        f'_base_ = "pc3d::finetune/sim_detection.py"\n{lidar}'
        'head = dict(_delete_=True, type="mine:BoxHead", width=5)\n',
    )
    pc3d("finetune", boxes, "--work-dir", "boxes", "--cfg-options", *data)
    metrics = [json.loads(line) for line in (folder / "boxes/metrics.jsonl").read_text().splitlines()]
    assert all(line["loss_count"] > 0 for line in metrics)


def test_workers_that_are_spawned_find_it(folder: Path, pc3d: Callable[..., None]) -> None:
    with pytest.raises(SystemExit):
        pc3d("doctor", "--help")  # any command puts its folder on the path
    with worker_pool(1) as pool:
        assert pool.submit(resolve, "mine:Encoder").result().__name__ == "Encoder"


def test_a_reader_of_ones_own_is_indexed(tmp_path: Path, pc3d: Callable[..., None]) -> None:
    (tmp_path / "drives.py").write_text(READER)
    sys.path.append(str(tmp_path))
    root = tmp_path / "raw"
    root.mkdir()
    points = np.random.default_rng(0).uniform(-20, 20, (500, 4)).astype(np.float32)
    points[:, 3] = 0.5
    for number in range(4):
        points.tofile(root / f"{number}.bin")
    assert len(open_reader("drives:Reader", root)) == 4
    index = build_index("drives:Reader", root, tmp_path / "index", "again", every=2)
    assert [index[row].token for row in range(len(index))] == ["0", "2"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:Encoder", r"there is no module 'no_such_module'[\s\S]*PYTHONPATH"),
        ("mine:Encodr", r"mine has no class Encodr; did you mean 'Encoder'"),
        ("mine:Alike", r"Alike is no class below LidarEncoder[\s\S]*pc3d\.models\.lidar\.base\.LidarEncoder"),
        (
            "broken:Encoder",
            r"importing broken failed: ZeroDivisionError: division by zero[\s\S]*broken\.py, line 2",
        ),
        ("needy:Encoder", r"No module named 'not_installed_here'"),
        ("subprocess:Popen", r"Popen is no class below LidarEncoder"),
        ("MinkUnet", r"expected one of 'MinkUNet', 'PointPillars', 'SECOND' or module:Class"),
    ],
)
def test_a_wrong_name_is_one_error_with_its_place(
    folder: Path, pc3d: Callable[..., None], tiny_index: Path, name: str, says: str
) -> None:
    (folder / "broken.py").write_text("\n1 / 0\n")
    (folder / "needy.py").write_text("import not_installed_here\n")
    path = config(
        folder, "wrong", f'_base_ = "pc3d::pretrain/sim_pointcontrast.py"\nlidar = dict(type="{name}")\n'
    )
    with pytest.raises(ValueError, match=says) as error:
        pc3d("pretrain", path, "--cfg-options", f"data.index={tiny_index}", *QUICK)
    assert "wrong.py, line 2" in str(error.value)
    assert len(str(error.value).splitlines()) < 8


def test_a_wrong_argument_of_ones_own_class_is_named(folder: Path, pc3d: Callable[..., None]) -> None:
    text = (
        '_base_ = "pc3d::pretrain/sim_pointcontrast.py"\n'
        'objectives = dict(_delete_=True, alike=dict(type="mine:Alike", spred=0.5))\n'
    )
    path = config(folder, "wrong", text)
    sys.path.append(str(folder))
    with pytest.raises(
        ValueError, match=r"objectives\.alike\.spred.*did you mean `objectives\.alike\.spread`"
    ):
        pc3d("pretrain", path)


def test_a_checkpoint_can_make_nothing_but_networks(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    harm = {"type": "subprocess:Popen", "args": ["touch", str(tmp_path / "harm")]}
    save_file({"layer": torch.zeros(1)}, path, {"lidar": json.dumps(harm)})
    with pytest.raises(DataError, match="is no class below LidarEncoder"):
        load_encoder(path)
    assert not (tmp_path / "harm").exists()


def test_a_registry_holds_its_own_and_imports_others() -> None:
    registry: Registry[torch.nn.Module] = Registry(torch.nn.Module, {"linear": torch.nn.Linear})
    assert registry["linear"] is torch.nn.Linear
    assert registry["torch.nn:Identity"] is registry.get("torch.nn:Identity") is torch.nn.Identity
    assert list(registry) == ["linear"]
    assert registry.get("conv") is None
    with pytest.raises(KeyError):
        registry["conv"]
    names = ["a:B", "a.b:C_1", "a", "a:", ":B", "a:B.c", "a b:C", "a:B()", "1a:B", "a..b:C", None, 3]
    assert [name for name in names if is_plugin(name)] == ["a:B", "a.b:C_1"]
