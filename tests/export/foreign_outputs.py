"""Run the exports in the targets' own code, and write what it gives to `foreign_outputs.json`.

    python tests/export/foreign_outputs.py FOLDER

FOLDER holds checkouts `OpenPCDet`, `Pointcept` and `mmdetection3d`, and `wheels` with mmcv-lite, mmdet,
torchvision and timm, unpacked. Nothing of them is changed; the `__init__` files of their packages, which
import compiled operators, do not run, and torch_scatter, torch_geometric and `DynamicScatter` are replaced by
torch's own reductions. What is kept is names, shapes and numbers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import spconv.pytorch as spconv_pytorch  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from foreign_cases import (  # noqa: E402
    CASES,
    bev_map,
    detector_made,
    head_maps,
    images_made,
    pictures,
    places,
    unet_points,
)
from small_exports import bev_of, exported, made, points_in, space, view_of  # noqa: E402
from spconv.core import ConvAlgo  # noqa: E402


class Options(dict):
    """A config as OpenPCDet has them."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


def package(name: str, path: Path | None = None) -> ModuleType:
    """An empty package whose files are found in `path`."""
    module = ModuleType(name)
    module.__path__ = [] if path is None else [str(path)]
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def on_cpu(network: torch.nn.Module) -> torch.nn.Module:
    for module in network.modules():
        if isinstance(module, spconv_pytorch.conv.SparseConvolution):
            module.algo = ConvAlgo.Native
    return network.eval()


def reduce(values: torch.Tensor, index: torch.Tensor, how: str) -> torch.Tensor:
    out = values.new_zeros(int(index.max()) + 1, values.shape[1])
    rows = index[:, None].expand_as(values)
    return out.scatter_reduce(0, rows, values, how, include_self=False)


def part(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name[len(prefix) :]: t for name, t in state.items() if name.startswith(prefix)}


def load(network: torch.nn.Module, state: dict[str, Any], without: str = "") -> torch.nn.Module:
    """Every tensor of both, but for keys of the network that begin with `without` (a head)."""
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all(without and name.startswith(without) for name in missing), missing
    return on_cpu(network)


def shapes(network: torch.nn.Module, prefix: str) -> dict[str, list[int]]:
    return {prefix + name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def openpcdet(folder: Path, name: str, case: Any, work: Path) -> dict[str, Any]:
    source = folder / "OpenPCDet/pcdet"
    package("pcdet", source)
    for child in ("utils", "models", "models.backbones_3d", "models.backbones_3d.vfe", "models.backbones_2d"):
        package(f"pcdet.{child}", source / child.replace(".", "/"))
    package("pcdet.models.backbones_2d.map_to_bev", source / "models/backbones_2d/map_to_bev")
    scatter = package("torch_scatter")
    scatter.scatter_mean = lambda x, index, dim: reduce(x, index, "mean")
    scatter.scatter_max = lambda x, index, dim: (reduce(x, index, "amax"), None)
    torch.Tensor.cuda = lambda self: self
    encoder = made(work / "a.safetensors", case.config)
    state = exported(work / "a.safetensors", "openpcdet", case.points)
    points = points_in(case.config)
    mine = bev_of(encoder, points)
    from pcdet.models.backbones_2d.base_bev_backbone import BaseBEVBackbone

    bev = Options(
        LAYER_NUMS=[1, 2],
        LAYER_STRIDES=[2 if "pillars" in name else 1, 2],
        NUM_FILTERS=[6, 10],
        UPSAMPLE_STRIDES=[1, 2],
        NUM_UPSAMPLE_FILTERS=[8, 8],
    )
    fed = points.clone()
    if case.points == "nuscenes":
        fed[:, 3] *= 255.0
        fed = torch.cat((fed, torch.rand(len(fed), 1)), dim=1)
    _, size, (nz, ny, nx) = space(encoder)
    grid = {
        "voxel_size": size.tolist(),
        "grid_size": [nx, ny, nz],
        "point_cloud_range": torch.tensor(encoder.inputs.grid.limits),
    }
    batch = {"points": torch.cat((torch.zeros(len(fed), 1), fed), dim=1), "batch_size": 1}
    if "pillars" in name:
        from pcdet.models.backbones_2d.map_to_bev.pointpillar_scatter import PointPillarScatter
        from pcdet.models.backbones_3d.vfe.dynamic_pillar_vfe import DynamicPillarVFE

        vfe = DynamicPillarVFE(
            Options(USE_NORM=True, WITH_DISTANCE=False, USE_ABSLOTE_XYZ=True, NUM_FILTERS=[8]),
            num_point_features=fed.shape[1],
            **grid,
        )
        vfe = load(vfe, part(state, "vfe."))
        canvas = PointPillarScatter(Options(NUM_BEV_FEATURES=8), grid["grid_size"])(vfe(batch))[
            "spatial_features"
        ]
        keys = shapes(vfe, "vfe.")
    else:
        import numpy as np
        from pcdet.models.backbones_3d.spconv_backbone import VoxelBackBone8x, VoxelResBackBone8x
        from pcdet.models.backbones_3d.vfe.dynamic_mean_vfe import DynamicMeanVFE

        kind = VoxelResBackBone8x if "residual" in name else VoxelBackBone8x
        keys = shapes(kind(Options(), fed.shape[1], np.array([nx, ny, nz])), "backbone_3d.")
        backbone = kind(Options(USE_BIAS=False), fed.shape[1], np.array([nx, ny, nz]))
        weights = part(state, "backbone_3d.")
        biases = [key for key in weights if ".conv" in f".{key}" and key.endswith("bias") and "bn" not in key]
        biases = [key for key in biases if key.split(".")[-2] in ("conv1", "conv2")]
        assert all(not weights.pop(key).any() for key in biases)  # no bias of spconv runs on a CPU
        backbone = load(backbone, weights)
        vfe = DynamicMeanVFE(Options(), fed.shape[1], **grid)
        canvas = backbone(vfe(batch))["encoded_spconv_tensor"].dense().flatten(1, 2)
    flat = load(BaseBEVBackbone(bev, canvas.shape[1]), part(state, "backbone_2d."))
    keys |= shapes(flat, "backbone_2d.")
    theirs = flat({"spatial_features": canvas})["spatial_features_2d"]
    return {"keys": keys, "output": theirs, "mine": mine}


def openpcdet_head(folder: Path, name: str, case: Any, work: Path) -> dict[str, Any]:
    source = folder / "OpenPCDet/pcdet"
    package("pcdet", source)
    for child in ("utils", "models", "models.dense_heads", "models.model_utils"):
        package(f"pcdet.{child}", source / child.replace(".", "/"))
    for unused in ("model_nms_utils", "centernet_utils"):  # they suppress boxes, by compiled operators
        package(f"pcdet.models.model_utils.{unused}")
    losses = package("pcdet.utils.loss_utils")
    losses.FocalLossCenterNet = losses.RegLossCenterNet = torch.nn.Identity
    torch.Tensor.cuda = lambda self: self
    model = detector_made(work / "a.safetensors")
    state = exported(work / "a.safetensors", "openpcdet", case.points)
    config = yaml.safe_load((work / "openpcdet/openpcdet.yaml").read_text())["MODEL"]["DENSE_HEAD"]
    from pcdet.models.dense_heads.center_head import CenterHead

    def options(value: Any) -> Any:
        return Options({k: options(v) for k, v in value.items()}) if isinstance(value, dict) else value

    names = ["bus", "car", "truck"]
    head = CenterHead(options(config), 16, 3, names, [4, 4, 1], [0.0] * 6, [1.0] * 3)
    head = load(head, part(state, "dense_head."))
    ours = {"center": "reg", "center_z": "height", "hm": "heatmap"}
    shared = head.shared_conv(bev_map())
    maps = [{ours.get(k, k): t for k, t in group(shared).items()} for group in head.heads_list]
    theirs = torch.cat([tensor for group in maps for _, tensor in sorted(group.items())], dim=1)
    return {"keys": shapes(head, "dense_head."), "output": theirs, "mine": head_maps(model)}


def mmdet3d_packages(folder: Path) -> None:
    source = folder / "mmdetection3d/mmdet3d"
    sys.path[:0] = [str(folder / "wheels")]
    package("mmcv.ops") if "mmcv" in sys.modules else None
    import mmcv  # noqa: F401

    ops = package("mmcv.ops")
    for missing in ("points_in_boxes_all", "three_interpolate", "three_nn"):
        setattr(ops, missing, None)
    for missing in ("SparseConvTensor", "SparseModule", "SparseSequential"):
        setattr(ops, missing, getattr(spconv_pytorch, missing))

    class DynamicScatter(torch.nn.Module):
        """Of mmcv: reduce the points of each voxel."""

        def __init__(self, voxel_size: Any, point_cloud_range: Any, average_points: bool) -> None:
            super().__init__()
            self.how = "mean" if average_points else "amax"

        def forward(self, points: torch.Tensor, coors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found, index = torch.unique(coors, return_inverse=True, dim=0)
            return reduce(points, index, self.how), found

    ops.DynamicScatter = DynamicScatter
    for name in (
        "mmdet",
        "mmdet.models",
        "mmdet.models.backbones",
        "mmdet.models.losses",
        "mmdet.models.layers",
    ):
        package(name, folder / "wheels" / name.replace(".", "/"))
    losses = sys.modules["mmdet.models.losses"]
    losses.sigmoid_focal_loss = losses.smooth_l1_loss = None
    import mmdet.registry  # noqa: F401

    layers = sys.modules["mmdet.models.layers"]
    layers.ResLayer = None
    for name in (
        "",
        ".models",
        ".models.layers",
        ".models.middle_encoders",
        ".models.backbones",
        ".models.necks",
    ):
        package(f"mmdet3d{name}", source / name.strip(".").replace(".", "/"))
    package("mmdet3d.models.voxel_encoders", source / "models/voxel_encoders")
    types = package("mmdet3d.utils")
    types.ConfigType = types.OptConfigType = types.OptMultiConfig = Any
    package("mmdet3d.structures").BaseInstance3DBoxes = object
    from mmdet3d.models.layers.sparse_block import SparseBasicBlock, make_sparse_convmodule

    own = sys.modules["mmdet3d.models.layers"]
    own.SparseBasicBlock, own.make_sparse_convmodule = SparseBasicBlock, make_sparse_convmodule


def mmdet3d(folder: Path, name: str, case: Any, work: Path) -> dict[str, Any]:
    encoder = made(work / "a.safetensors", case.config)
    state = exported(work / "a.safetensors", case.target, case.points)
    snippet = next((work / case.target).glob("*.py")).read_text()
    points = unet_points(case.config) if "spconv" in name else points_in(case.config)
    if "spconv" in name:
        with torch.no_grad():
            mine = encoder(view_of(points), want_bev=False).points
        voxels, features = encoder.inputs(view_of(points))
    else:
        mine = bev_of(encoder, points)
        voxels = encoder.inputs.voxels(view_of(points))
    mmdet3d_packages(folder)  # it changes how spconv loads
    config: dict[str, Any] = {}
    exec(snippet, config)
    model = config["model"]
    from mmdet3d.registry import MODELS

    if "spconv" in name:
        import mmdet3d.models.backbones.minkunet_backbone

        network = load(MODELS.build(model["backbone"]), part(state, "backbone."))
        coords = voxels.coords[:, [0, 3, 2, 1]].int()
        theirs = network(features, coords)[voxels.index]
        return {"keys": shapes(network, "backbone."), "output": theirs, "mine": mine}
    import mmdet3d.models.backbones.second
    import mmdet3d.models.middle_encoders.sparse_encoder
    import mmdet3d.models.necks.second_fpn

    fed = points.clone()
    if case.points == "nuscenes":
        fed[:, 3] *= 255.0
        fed = torch.cat((fed, torch.rand(len(fed), 1)), dim=1)
    prefix = "pts_" if "pts_backbone" in model else ""
    if "pillars" in name:
        import mmdet3d.models.voxel_encoders.pillar_encoder  # noqa: F401

        vfe = load(MODELS.build(model["voxel_encoder"]), part(state, "voxel_encoder."))
        pillars, coords = vfe(fed, voxels.coords[voxels.index].int())
        canvas = torch.zeros(1, pillars.shape[1], *voxels.shape[1:])
        canvas[0, :, coords[:, 2].long(), coords[:, 3].long()] = pillars.T
        keys = shapes(vfe, "voxel_encoder.")
    else:
        sparse = load(MODELS.build(model[f"{prefix}middle_encoder"]), part(state, f"{prefix}middle_encoder."))
        means = reduce(fed, voxels.index, "mean")
        canvas = sparse(means, voxels.coords.int(), 1)
        keys = shapes(sparse, f"{prefix}middle_encoder.")
    backbone = load(MODELS.build(model[f"{prefix}backbone"]), part(state, f"{prefix}backbone."))
    neck = load(MODELS.build(model[f"{prefix}neck"]), part(state, f"{prefix}neck."))
    keys |= shapes(backbone, f"{prefix}backbone.") | shapes(neck, f"{prefix}neck.")
    return {"keys": keys, "output": neck(backbone(canvas))[0], "mine": mine}


def pointcept(folder: Path, name: str, case: Any, work: Path) -> dict[str, Any]:
    source = folder / "Pointcept/pointcept"
    package("pointcept", source)
    for child in ("models", "models.sparse_unet"):
        package(f"pointcept.{child}", source / child.replace(".", "/"))
    package("torch_geometric")
    package("torch_geometric.utils").scatter = None
    package("timm")
    package("timm.layers").trunc_normal_ = torch.nn.init.trunc_normal_
    builder = package("pointcept.models.builder")
    builder.MODELS = SimpleNamespace(register_module=lambda *a: lambda kind: kind)
    utils = package("pointcept.models.utils")
    utils.offset2batch = lambda offset: torch.zeros(int(offset[0]), dtype=torch.long)
    encoder = made(work / "a.safetensors", case.config)
    state = exported(work / "a.safetensors", "pointcept")
    points = unet_points(case.config)
    with torch.no_grad():
        mine = encoder(view_of(points), want_bev=False).points
    voxels, features = encoder.inputs(view_of(points))
    from pointcept.models.sparse_unet.spconv_unet_v1m1_base import SpUNetBase

    network = SpUNetBase(4, 0, 4, tuple(case.config["widths"]), (2,) * 8)
    network = load(network, part(state, "backbone."))
    coords = voxels.coords[:, [3, 2, 1]]
    inputs = {"grid_coord": coords, "feat": features, "offset": torch.tensor([len(coords)])}
    return {"keys": shapes(network, "backbone."), "output": network(inputs)[voxels.index], "mine": mine}


def images(folder: Path, name: str, case: Any, work: Path) -> dict[str, Any]:
    encoder = images_made(work / "a.safetensors", case.config)
    state = exported(work / "a.safetensors", case.target)
    mine, fed = pictures(64)
    mine = encoder(mine)
    sys.path[:0] = [str(folder / "wheels")]
    torch.library.register_fake = lambda *a, **k: lambda f: f  # its operators are those of another torch
    swin = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2]}
    if case.target == "torchvision":
        from torchvision.models import resnet50
        from torchvision.models.swin_transformer import SwinTransformer

        if "resnet" in name:
            network = resnet50(weights=None)
            stem = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        else:
            network = SwinTransformer([4, 4], window_size=[2, 2], num_classes=2, **swin)
            stem = ("features", "norm", "permute")
        network = load(network, state, "head." if "swin" in name else "fc.")
        theirs = fed
        for part_name in stem:
            theirs = getattr(network, part_name)(theirs)
        keys = {
            key: shape for key, shape in shapes(network, "").items() if not key.startswith(("fc.", "head."))
        }
        return {"keys": keys, "output": theirs, "mine": mine}
    import timm
    from timm.models.swin_transformer import SwinTransformer as TimmSwin

    if "resnet" in name:
        network = load(timm.create_model("resnet18", num_classes=0), state)
        theirs = network.forward_features(fed)
    else:
        network = load(TimmSwin(img_size=64, patch_size=4, window_size=2, num_classes=0, **swin), state)
        theirs = network.forward_features(fed).permute(0, 3, 1, 2)
    return {"keys": shapes(network, ""), "output": theirs, "mine": mine}


RUNS = {
    "openpcdet-head": openpcdet_head,
    "openpcdet": openpcdet,
    "mmdet3d": mmdet3d,
    "pointcept": pointcept,
    "torchvision": images,
    "timm": images,
}


def run(folder: Path, name: str, work: Path) -> None:
    """One case, in a process of its own; it prints its JSON."""
    case = CASES[name]
    with torch.no_grad():
        found = (RUNS.get(name) or RUNS[case.target.split("-")[0]])(folder, name, case, work)
    difference = float((found["mine"] - found["output"]).abs().max())
    scale = float(found["output"].abs().max())
    print(f"{name}: differs by {difference:.2g} at a scale of {scale:.3g}", file=sys.stderr)
    print(json.dumps({"keys": found["keys"], "output": places(found["output"])}))


def main() -> None:
    from tempfile import TemporaryDirectory

    folder = Path(sys.argv[1]).resolve()
    if len(sys.argv) > 2:
        with TemporaryDirectory() as work:
            return run(folder, sys.argv[2], Path(work))
    results = {}
    for name in CASES:
        command = [sys.executable, __file__, str(folder), name]
        results[name] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in results.items()]
    (HERE / "foreign_outputs.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return None


if __name__ == "__main__":
    main()
