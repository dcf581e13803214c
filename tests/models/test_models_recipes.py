"""Options of the encoders that the recipes of SLidR and SuperFlow need."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from published_states import slidr, superflow, unet_state

from pc3d.data.batch import PointView
from pc3d.engine.checkpoints import load_encoder
from pc3d.engine.config import load_config, plain
from pc3d.engine.initial_weights import load_part
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.lidar.minkunet import MinkUNet
from pc3d.models.lidar.published import import_checkpoint
from pc3d.models.weights import save_backbone
from pc3d.ops.voxelize import REACH

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pretrain"
UNET: dict[str, Any] = {"type": "MinkUNet", "depth": 18, "widths": (8, 8, 12, 12, 12, 8, 8, 8), "stem": 8}
PARAMETERS = {"nuscenes_slidr": 37_842_976, "nuscenes_ppkt": 37_842_976, "nuscenes_superflow": 37_873_280}
"""Of the published networks, without their last layer (SLidR's 96 to 64) and our BEV map."""

SLIDR = {
    "data.augmentation": {"rotation": (-math.pi, math.pi), "scale": (1, 1), "flip": 0.5, "cuboid": 0.2},
    "data.image_size": (224, 416),
    "data.resize": "stretch",
    "data.image_crop": {"scale": (0.3, 1), "ratio": (14 / 9, 17 / 9)},
    "data.image_flip": 0.5,
    "data.cameras": None,
    "data.batch_size": 4,
    "optimizer": {"type": "SGD", "lr": 0.5, "momentum": 0.9, "dampening": 0.1, "weight_decay": 1e-4},
    "schedule": {"kind": "cosine", "epochs": 50},
    "lidar.voxel_size": (0.1, 1, 0.1),
    "lidar.point_range": None,
    "lidar.columns": (3,),
    "lidar.column_scales": (255,),
    "lidar.stem_kernels": (3,),
    "lidar.norm_momentum": 0.05,
    "image.output_stride": 4,
}
SUPERFLOW = {
    "data.augmentation": {"rotation": (0, math.pi), "scale": (0.95, 1.05), "flip": 0.5},
    "data.image_size": (224, 448),
    "data.resize": "stretch",
    "data.image_flip": 0.5,
    "data.cameras": 3,
    "data.batch_size": 4,
    "optimizer": {"type": "AdamW", "lr": 0.01, "weight_decay": 0.01, "eps": 1e-6},
    "schedule": {"epochs": 100, "warmup": 0.2},
    "lidar.column_scales": (1, 1, 1, 255),
    "lidar.norm_momentum": 0.05,
    "lidar.voxel_size": (0.1, 1, 0.1),
    "lidar.point_range": None,
    "image.final_norm": False,
}
DOWNSTREAM = {
    "data.augmentation": {"rotation": (-math.pi, math.pi), "scale": (0.95, 1.05), "flip": 0.5},
    "data.batch_size": 16,
    "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.01, "eps": 1e-6, "head_lr_scale": 10},
    "schedule": {"epochs": 100, "warmup": 0.2},
    "lidar.norm_momentum": 0.02,
    "head.lovasz_weight": 2,
}
BEVFUSION = {
    "data.augmentation": {"rotation": (-math.pi / 4, math.pi / 4), "scale": (0.9, 1.1), "flip": 0.5},
    "data.sweeps": 10,
    "data.balance": True,
    "data.batch_size": 4,
    "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.01, "clip_norm": 35},  # 10 times 1e-4
    "schedule": {"epochs": 20, "warmup": 0.4},
}
CAMERAS = {"data.image_size": (256, 704), "camera.depth": (1, 60, 0.5), "camera.downsample": 2}
PUBLISHED: dict[str, dict[str, Any]] = {
    "pretrain/nuscenes_slidr": SLIDR,
    "pretrain/nuscenes_ppkt": SLIDR | {"image.output_stride": None},
    "pretrain/nuscenes_superflow": SUPERFLOW | {"objectives.flow.cross": 0},
    "pretrain/nuscenes_superflowpp": SUPERFLOW | {"objectives.flow.cross": 1},
    "pretrain/nuscenes_seal": SUPERFLOW | {"schedule": {"epochs": 50, "warmup": 0.2}},
    "pretrain/nuscenes_scalr": {
        "data.augmentation": {"rotation": (-math.pi, math.pi), "scale": (0.9, 1.1)},
        "data.image_size": (224, 448),
        "data.resize": "stretch",
        "data.image_flip": 0,
        "data.cameras": 1,
        "data.batch_size": 8,
        "optimizer": {"type": "AdamW", "lr": 2e-3, "weight_decay": 0.03},
        "schedule": {"epochs": 25, "warmup": pytest.approx(3500 / (25 * 28130 / 8), rel=0.02)},
        "image": {"model": "facebook/dinov2-large", "final_norm": False},
    },
    "pretrain/nuscenes_proposalcontrast": {
        "data.augmentation": {"rotation": (-math.pi, math.pi), "scale": (0.8, 1.25), "flip": 0.5},
        "optimizer": {"type": "AdamW", "lr": 3e-3, "weight_decay": 0.01, "clip_norm": 35},
        "schedule": {"epochs": 50, "warmup": 0.1},
    },
    "pretrain/nuscenes_calico": CAMERAS
    | {
        "data.augmentation": {"rotation": (-math.pi / 2, math.pi / 2), "scale": (0.9, 1.1)},
        "data.sweeps": 10,
        "optimizer": {"type": "AdamW", "lr": 1e-4, "weight_decay": 0.01},
        "schedule": {"epochs": 20},
    },
    "finetune/nuscenes_1_percent": DOWNSTREAM | {"data.fraction": 1},
    "finetune/nuscenes_linear_probe": DOWNSTREAM | {"data.fraction": None, "head.freeze": True},
    "finetune/nuscenes_detection": BEVFUSION,
    "finetune/nuscenes_detection_both": BEVFUSION
    | CAMERAS
    | {
        "optimizer": {"type": "AdamW", "lr": 2e-4, "weight_decay": 0.01, "clip_norm": 35},
        "schedule": {"epochs": 6, "warmup": pytest.approx(500 / (6 * 123580 / 32), rel=0.1)},
    },
    "finetune/nuscenes_map": BEVFUSION
    | CAMERAS
    | {"data.map_grid": {"x_min": -50, "x_max": 50, "cell": 0.5}},
}
"""Settings of the authors' files that docs/recipes.md names; bases are shared, and must not change them."""


def view_of(points: torch.Tensor) -> PointView:
    count = len(points)
    return PointView(points, torch.zeros(count, dtype=torch.long), torch.arange(count), torch.eye(4)[None], 1)


def sweep(count: int = 1500, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 4, generator=generator) * torch.tensor([24.0, 24.0, 4.0, 1.0])
    return points - torch.tensor([12.0, 12.0, 2.0, 0.0])


@pytest.mark.parametrize("name", PARAMETERS)
def test_as_many_parameters_as_the_published_network(name: str) -> None:
    encoder = build_lidar_encoder(plain(load_config(CONFIGS / f"{name}.py", "pretrain").lidar))
    parts = {part: sum(p.numel() for p in module.parameters()) for part, module in encoder.named_children()}
    assert sum(parts.values()) - parts["bev_head"] == PARAMETERS[name]
    momenta = {m.momentum for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm1d)}
    assert momenta == {0.05}


def flat(settings: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting by its dotted key; a list is a tuple."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_settings_are_the_authors(name: str) -> None:
    config = dict(flat(plain(load_config(CONFIGS.parent / f"{name}.py", name.split("/")[0]))))
    want = dict(flat(PUBLISHED[name]))
    near = {
        key: pytest.approx(v, rel=1e-5) if isinstance(v, float | int | tuple) else v
        for key, v in want.items()
    }
    assert {key: config.get(key) for key in want} == near


@pytest.mark.parametrize("voxel", ["cubic", "cylinder"])
def test_without_a_range_no_point_is_dropped(voxel: str) -> None:
    """Far points take part; the grid is so wide that no flat index of 32 bits names its voxels."""
    config = {**UNET, "voxel": voxel, "voxel_size": (0.1, 1.0, 0.1), "point_range": None}
    encoder = build_lidar_encoder(config)
    assert isinstance(encoder, MinkUNet)
    assert math.prod(encoder.inputs.grid.shape) > 2**31
    x, y, z = REACH
    far = torch.tensor([[150.0, -2.0, 30.0, 0.5], [x - 1, 1 - y, z - 1, 0.5], [0.0, y, 0.0, 0.5]])
    lost = torch.tensor([[torch.nan, 0.0, 0.0, 0.5], [0.0, 0.0, -torch.inf, 0.5]])
    got = encoder(view_of(torch.cat((sweep(), far, lost))))
    assert got.valid.tolist() == [True] * 1502 + [False] * 3
    assert got.points[got.valid].isfinite().all()
    assert got.points[1500:1502].any()


def test_without_a_range_the_network_is_the_same() -> None:
    """A narrow grid of whole coarsest voxels gives the same features."""
    free, narrow = (
        build_lidar_encoder({**UNET, "point_range": limits})
        for limits in (None, (-12.8, -12.8, -3.2, 12.8, 12.8, 3.2))
    )
    narrow.load_state_dict(free.state_dict())
    points = sweep() * torch.tensor([0.2, 0.2, 0.5, 1.0])
    points[:, :3] = (points[:, :3] * 10).floor() / 10 + 0.05  # middles, which no rounding moves elsewhere
    a, b = (encoder(view_of(points), want_bev=False).points for encoder in (free, narrow))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert a.abs().mean() > 0.1


def test_a_column_is_scaled_before_it_enters() -> None:
    torch.manual_seed(0)
    scaled = build_lidar_encoder({**UNET, "voxel_size": (0.4,) * 3, "column_scales": (1.0, 1.0, 1.0, 255.0)})
    raw = build_lidar_encoder({**UNET, "voxel_size": (0.4,) * 3})
    raw.load_state_dict(scaled.state_dict())
    points = sweep()
    brighter = points * torch.tensor([1.0, 1.0, 1.0, 255.0])
    a, b = scaled.eval()(view_of(points)), raw.eval()(view_of(brighter))
    torch.testing.assert_close(a.points, b.points)
    with pytest.raises(ValueError, match="in_channels is 4, but column_scales has 1"):
        build_lidar_encoder({**UNET, "column_scales": (255.0,)})


@pytest.mark.parametrize(
    ("config", "name", "state"),
    [
        ("nuscenes_slidr", "slidr", unet_state(slidr(), in_channels=1)),
        ("nuscenes_superflow", "superflow", unet_state(superflow(), in_channels=4)),
    ],
)
def test_a_published_checkpoint_fits_the_config(tmp_path: Path, config: str, name: str, state: Any) -> None:
    """Read as the config has it, with raw intensities, it computes the same as read by default."""
    torch.save({"state_dict": state}, tmp_path / "published.pth")
    lidar = plain(load_config(CONFIGS / f"{config}.py", "pretrain").lidar)
    wide = {"voxel_size": [0.4, 4.0, 0.4]}
    own = {key: lidar[key] for key in ("column_scales", "norm_momentum", "point_range", "voxel_feature")}
    encoders = []
    for options in ({"overrides": {"point_range": None}}, {"overrides": own, "intensity_scale": 1.0}):
        options["overrides"] |= wide
        out = tmp_path / f"{len(encoders)}.safetensors"
        import_checkpoint(tmp_path / "published.pth", name, out, **options)
        encoders.append(load_encoder(out))
    a, b = (encoder(view_of(sweep()), want_bev=False).points for encoder in encoders)
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert a.abs().mean() > 0.01


def test_weights_that_were_trained_on_other_inputs_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = {**UNET, "voxel_feature": "first", "column_scales": [1.0, 1.0, 1.0, 255.0], "point_range": None}
    encoder = build_lidar_encoder(saved)
    save_backbone(encoder, tmp_path / "backbone.safetensors", {"lidar": json.dumps(saved)})
    load_part(encoder, tmp_path / "backbone.safetensors")
    assert capsys.readouterr().out == ""
    load_part(build_lidar_encoder(UNET), tmp_path / "backbone.safetensors")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[5] for line in lines] == [
        "lidar.column_scales",
        "lidar.point_range",
        "lidar.voxel_feature",
    ]
    assert all(line.startswith("warning") and "remedy: take the `lidar` section" in line for line in lines)
