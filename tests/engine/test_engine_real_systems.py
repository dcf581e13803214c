"""Every pretraining system on real input: a batch of a KITTI key frame and a nuScenes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_configs import BEV, CONFIGS, marked, pretrain_config, read_metrics

from pc3d.data.batch import Needs
from pc3d.data.build import build_index
from pc3d.data.collate import collate
from pc3d.data.index import SweepIndex
from pc3d.data.splits import write_tokens
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import build_dataset
from pc3d.engine.pretrainer import pretrain
from pc3d.regions.build import KINDS, Params, build_sweep, prepare
from pc3d.regions.key_frame import key_frames
from pc3d.regions.semantics import SemanticParams
from pc3d.regions.superpixels import SuperpixelParams

SYSTEMS = sorted(
    path.stem
    for path in CONFIGS.glob("pretrain/sim_*.py")
    if not any(word in path.stem for word in ("oracle", "other_images"))
)
SEMANTICS = {"clusters": 16, "fit_images": 4}
REGIONS: dict[str, Params] = {
    **{name: kind.params() for name, kind in KINDS.items()},
    "superpixels": SuperpixelParams(width=448),
    "semantics": SemanticParams(**SEMANTICS),
}
SMALL: dict[str, Any] = {
    "data.cameras": 1,
    "data.image_size": (112, 224),
    "data.points": {"max_points": 8000},
}
PARTS = {
    "prc": ("plrc", "rapc"),
    "fac": ("geo", "fea"),
    "flow": ("spatial", "d2s", "temporal"),
    "seal": ("spatial", "temporal"),
    "proposal_contrast": ("nce", "swav"),
    "bevdistill": ("cells",),
}
"""What an objective logs beside its loss and the share of points, by its name in the configs."""

RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [16, 16, 32, 32]}
VIT = {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def sources(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two sources of one key frame each, so that every batch holds both.

    Every third scan of the KITTI drive is a key frame, and the one that is trained on has one before it
    and one after it. The nuScenes key frame is the first and the last of its scene at once.
    """
    folder = tmp_path_factory.mktemp("real")
    return [
        _source(folder / "kitti", real_data / "kitti_raw", "kitti_raw", 1, poses="kiss-icp", key_every=3),
        _source(folder / "nuscenes", real_data / "nuscenes", "nuscenes", 0, version="v1.0-mini"),
    ]


def _source(folder: Path, root: Path, reader: str, chosen: int, **options: Any) -> dict[str, Any]:
    index = build_index(reader, root, folder / "index", "the test", **options)
    keys = index.key_rows(None)
    prepare(index, folder, REGIONS)
    for frame in key_frames(index, keys[max(chosen - 1, 0) : chosen + 2]):
        assert not build_sweep(frame, str(folder), REGIONS).failures
    write_tokens(folder / "tokens.txt", [index[int(keys[chosen])].token], "the test")
    paths = {"index": folder / "index", "regions": folder, "tokens": folder / "tokens.txt"}
    return {**{key: str(path) for key, path in paths.items()}, "split": None, "semantic_params": SEMANTICS}


@pytest.fixture(scope="module")
def config_of(sources: list[dict[str, Any]]) -> Callable[..., Any]:
    """The narrow form of a system on both sources."""

    def make(name: str, **more: Any) -> Any:
        bev = "camera" in load_config(CONFIGS / f"pretrain/{name}.py", "pretrain")
        settings = {**SMALL, "data.sources": sources, **(BEV if bev else {}), **more}
        return pretrain_config(Path("unused"), Path("unused"), 2, name, narrow=not bev, **settings)

    return make


@pytest.mark.parametrize("name", marked(SYSTEMS))
def test_every_system_trains_on_real_input(config_of: Callable[..., Any], name: str, tmp_path: Path) -> None:
    config = config_of(name)
    pretrain(config, tmp_path)
    stages = {stage["name"]: stage for stage in plain(config.get("stages", []))} or {"": plain(config)}
    for stage, settings in stages.items():
        rows = read_metrics(tmp_path / stage)
        assert [row["step"] for row in rows] == [1, 2]
        assert all(np.isfinite(value) for row in rows for value in row.values())
        for key in settings["objectives"]:
            # Words are collected before anything is lost.
            assert key == "words" or all(row[f"{key}/loss"] != 0 for row in rows)
            assert max(row[f"{key}/point_share"] for row in rows) > 0
            assert all(row[f"{key}/{part}"] > 0 for row in rows for part in PARTS.get(key, ()))


@pytest.mark.parametrize("name", ["nuscenes_slidr", "nuscenes_ppkt", "nuscenes_scalr", "nuscenes_superflow"])
def test_the_published_recipes_train_on_real_input(
    config_of: Callable[..., Any], name: str, tmp_path: Path
) -> None:
    """Dilated teacher, stretched parts of images, left out cuboids, first points, raw intensity, no range."""
    config = config_of(name, **{"init.random": True, "data.superpixel_params": {"width": 448}})
    config.image.model = RESNET if "resnet" in config.image.model else VIT
    pretrain(config, tmp_path)
    (objective,) = config.objectives
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert all(np.isfinite(value) for value in row.values())
        assert row[f"{objective}/loss"] != 0
        assert row[f"{objective}/point_share"] > 0


def test_the_times_of_the_real_batch(config_of: Callable[..., Any], sources: list[dict[str, Any]]) -> None:
    """The KITTI sample has other sweeps before and after it; the nuScenes one stands in for both."""
    needs = Needs(images=True, semantics=True, tracks=True, frames=("t", "t-1", "t+1", "dense"))
    data = build_dataset(plain(config_of("sim_superflow", **{"data.points": {}}).data), needs)
    kitti, nuscenes = (data[0, position] for position in range(2))
    now = kitti.frames["t"]
    for time, ahead in (("t-1", -1), ("t+1", 1)):
        other = kitti.frames[time]
        assert other.num_points != now.num_points
        now_SE3_other = np.linalg.inv(now.world_SE3_lidar) @ other.world_SE3_lidar
        assert 0.3 < ahead * now_SE3_other[0, 3] < 1.5, "three scans of a slow car, metres"
        same = nuscenes.frames[time]
        np.testing.assert_array_equal(same.world_SE3_lidar, nuscenes.frames["t"].world_SE3_lidar)
    index = SweepIndex.open(sources[0]["index"])
    plain_sweeps = [index[row] for row in index.previous_sweeps(kitti.meta["row"], 2)]
    assert not any(sweep.is_key_frame for sweep in plain_sweeps)
    sizes = [sweep.path.stat().st_size // 16 for sweep in plain_sweeps]
    assert kitti.frames["dense"].num_points == now.num_points + sum(sizes)
    assert nuscenes.frames["dense"].num_points == nuscenes.frames["t"].num_points
    batch = collate([kitti, nuscenes])
    seen = batch.now.pairs.camera
    assert set(seen.tolist()) == {0, 1}, "both cameras see points"
    joined = np.intersect1d(now.tracks, kitti.frames["t+1"].tracks)
    assert len(joined[joined >= 0]) > 20
