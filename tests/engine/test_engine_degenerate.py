"""Degenerate input of pretraining: a camera that is missing, ends of scenes, views without a point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_configs import BEV, CONFIGS, marked, pretrain_config
from mmengine.config import Config

from pc3d.data.batch import Batch
from pc3d.data.collate import collate
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.records import Sweep
from pc3d.data.splits import write_tokens
from pc3d.engine.config import plain
from pc3d.engine.data import MixedDataset, build_dataset
from pc3d.engine.pretrainer import Pretrainer, build_pretrainer, objective_needs
from pc3d.engine.stages import stage_configs

STAGED = ("sim_calico:prc", "sim_calico:rad", "sim_bevdistill:bevdistill")
"""Systems in stages: the config and one of its stages."""
SYSTEMS = sorted(
    path.stem
    for path in CONFIGS.glob("pretrain/sim_*.py")
    if path.stem not in ("sim_calico", "sim_bevdistill") and "oracle" not in path.stem
)
CAMERAS = ("CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
NOWHERE = {"point_range": (500.0, 500.0, -5.0, 501.0, 501.0, 3.0)}
SECOND = {
    "_delete_": True,
    "type": "SECOND",
    "widths": (4, 4, 8, 8),
    "bev_widths": (4, 4),
    "bev_layers": (1, 1),
}


@pytest.fixture(scope="module")
def gapped_index(tiny_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny index, where key frame 0 lacks the first camera, 1 the second, 2 the third, and 3 has none."""
    index = SweepIndex.open(tiny_index)
    keys = index.key_rows(None).tolist()

    def gapped(row: int) -> Sweep:
        number = keys.index(row) if row in keys else -1
        gone = {0: CAMERAS[:1], 1: CAMERAS[1:2], 2: CAMERAS[2:], 3: [c.name for c in index[row].cameras]}
        cameras = tuple(c for c in index[row].cameras if c.name not in gone.get(number, ()))
        return replace(index[row], cameras=cameras)

    metadata = {key: index.metadata[key] for key in ("dataset", "root", "rebuild", "classes")}
    folder = tmp_path_factory.mktemp("gapped") / "index"
    return write_index(folder, (gapped(row) for row in range(len(index))), metadata)


def config_of(name: str, index: Path, regions: Path, folder: Path, **more: Any) -> Config:
    """The narrow form of a system, or of a stage of it from fresh weights."""
    name, _, stage = name.partition(":")
    config = pretrain_config(index, regions, 1, name, narrow=not stage, **{**(BEV if stage else {}), **more})
    if stage:
        config = stage_configs(config, folder)[stage]
        config.pop("init", None)
    return config


def data_of(config: Config) -> MixedDataset:
    return build_dataset(plain(config.data), objective_needs(plain(config.objectives)))


def system(
    name: str, index: Path, regions: Path, folder: Path, **more: Any
) -> tuple[Pretrainer, MixedDataset]:
    """The narrow model of a system, or of a stage of it from fresh weights, and its data."""
    config = config_of(name, index, regions, folder, **more)
    return build_pretrainer(config).train(), data_of(config)


def step(model: Pretrainer, batch: Batch) -> float:
    """The loss of a batch; it and the gradients of what is trained must be finite."""
    results = model(batch)
    loss = torch.stack([value for key, value in results.items() if key.endswith("loss")]).sum()
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
    return float(loss.detach())


@pytest.mark.parametrize("name", ["sim_joint", "sim_seal", "sim_ppkt", "sim_scalr", *STAGED[1:]])
def test_a_missing_camera_is_left_out(
    gapped_index: Path, tiny_regions: Path, tmp_path: Path, name: str
) -> None:
    settings = {"data.camera_names": CAMERAS, "data.cameras": 3}
    model, data = system(name, gapped_index, tiny_regions, tmp_path, **settings)
    batch = collate([data[0, 0], data[0, 3]])
    assert batch.now.camera_mask.tolist() == [[False, True, True], [False, False, False]]
    assert not batch.now.images[~batch.now.camera_mask].any()
    assert set(batch.now.pairs.camera.tolist()) == {1, 2}
    assert step(model, batch) > 0
    step(model, collate([data[0, 3]]))


def test_samples_with_other_cameras_say_what_to_set(
    gapped_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    data = data_of(config_of("sim_calico:rad", gapped_index, tiny_regions, tmp_path))
    with pytest.raises(ValueError, match=r"different numbers of cameras.*`camera_names`"):
        collate([data[0, 0], data[0, 5]])
    with pytest.raises(DataError, match=r"the sweep has no camera[^`]*`camera_names`"):
        data[0, 3]


@pytest.mark.parametrize("name", ["sim_joint", "sim_seal"])
def test_the_ends_of_a_scene(tiny_index: Path, tiny_regions: Path, tmp_path: Path, name: str) -> None:
    index = SweepIndex.open(tiny_index)
    rows = index.scene_rows(0)
    tokens = [index[row].token for row in (rows[0], rows[-1])]
    write_tokens(tmp_path / "tokens.txt", tokens, "the ends of a scene")
    settings = {"data.tokens": str(tmp_path / "tokens.txt"), "data.split": None}
    model, data = system(name, tiny_index, tiny_regions, tmp_path, **settings)
    first, last = data[0, 0], data[0, 1]
    for sample, time in ((first, "t-1"), (last, "t+1")):
        if time in sample.frames:
            np.testing.assert_array_equal(
                sample.frames[time].world_SE3_lidar, sample.frames["t"].world_SE3_lidar
            )
    assert (first.frames["t+1"].world_SE3_lidar != first.frames["t"].world_SE3_lidar).any()
    for samples in ([first, last], [first], [last]):
        assert step(model, collate(samples)) > 0


@pytest.mark.parametrize("name", marked([*SYSTEMS, *STAGED]))
def test_one_sweep_of_two_without_points(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, name: str
) -> None:
    model, data = system(name, tiny_index, tiny_regions, tmp_path)
    empty = data_of(config_of(name, tiny_index, tiny_regions, tmp_path, **{"data.points": NOWHERE}))
    batch = collate([empty[0, 0], data[0, 1]])
    assert set(batch.now.views["a"].batch.tolist()) == {1}
    loss = step(model, batch)
    assert name == "sim_bagofwords" or loss != 0  # which collects words first


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("sim_prc", {}, "no active voxel in the whole batch"),
        ("sim_prc", {"lidar": SECOND}, "no active voxel in the whole batch"),
        ("sim_calico:prc", {}, "no active voxel in the whole batch"),
    ],
)
def test_a_batch_without_points_is_a_clear_error(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, name: str, more: dict[str, Any], message: str
) -> None:
    settings = {**more, "data.points": NOWHERE}
    model, data = system(name, tiny_index, tiny_regions, tmp_path, **settings)
    with pytest.raises(ValueError, match=message):
        model(collate([data[0, 0], data[0, 1]]))


@pytest.mark.parametrize(
    "name", ["sim_prc", "sim_fac", "sim_pointcontrast", "sim_proposalcontrast", "sim_joint"]
)
def test_crops_without_a_common_point(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, name: str
) -> None:
    model, data = system(name, tiny_index, tiny_regions, tmp_path, **{"data.augmentation": {"crop": 1e-3}})
    batch = collate([data[0, 0], data[0, 1]])
    a, b = (batch.now.views[view] for view in "ab")
    assert 50 < len(a.points) < 90
    assert not torch.isin(a.row, b.row).any()
    assert step(model, batch) >= 0
