"""Published checkpoints in: the same function as the published network, and every tensor accounted for."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from published_states import (
    BASIC_34,
    NARROW,
    PLANES,
    State,
    UNetScheme,
    bevfusion_forward,
    bevfusion_state,
    mmdet3d,
    slidr,
    spvnas,
    superflow,
    unet_forward,
    unet_state,
)
from torch import Tensor

from pc3d.data.batch import PointView
from pc3d.data.errors import DataError
from pc3d.engine.checkpoints import load_encoder
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.lidar.published import FORMATS, import_checkpoint
from pc3d.models.weights import read_metadata

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTATION = REPOSITORY / "docs/published-weights.md"
SIDE = 16
CUBIC: dict[str, Any] = {
    "voxel": "cubic",
    "voxel_size": [0.5, 0.5, 0.5],
    "point_range": [-4.0, -4.0, -4.0, 4.0, 4.0, 4.0],
}
UNETS: dict[str, tuple[str, UNetScheme, dict[str, Any]]] = {
    "slidr": ("slidr", slidr(), {"in_channels": 1}),
    "slidr-stem-5": ("slidr", slidr(stem_size=5), {"in_channels": 1}),
    "superflow": ("superflow", superflow(), {"in_channels": 4}),
    "superflow-50": (
        "superflow",
        superflow(),
        {"in_channels": 4, "layers": BASIC_34, "bottleneck": True, "planes": (2, 3, 4, 5, 5, 4, 3, 2)},
    ),
    "superflow-mmdet3d": ("superflow", mmdet3d(), {"in_channels": 4}),
    "scalr-torchsparse": ("scalr", spvnas(), {"in_channels": 4}),
    "scalr-one-stem-layer": ("scalr", spvnas(stem_layers=1), {"in_channels": 1, "layers": BASIC_34}),
    "scalr-minkowski": ("scalr", spvnas("minkowski"), {"in_channels": 4}),
}


def write(state: State, path: Path, prefix: str = "", **others: Any) -> Path:
    torch.save({"state_dict": {f"{prefix}{name}": t for name, t in state.items()}, **others}, path)
    return path


def view_of(points: Tensor) -> PointView:
    count = len(points)
    return PointView(points, torch.zeros(count, dtype=torch.long), torch.arange(count), torch.eye(4)[None], 1)


def cells(shape: tuple[int, int, int], share: float = 0.15) -> tuple[Tensor, Tensor, Tensor]:
    """Active voxels: (N, 3) x, y, z, their intensities 0..1, and the mask (X, Y, Z, 1)."""
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(shape, generator=generator) < share
    return mask.nonzero(), torch.rand(int(mask.sum()), generator=generator), mask[..., None].double()


def imported(tmp_path: Path, name: str, state: State, **options: Any):
    out = tmp_path / "backbone.safetensors"
    _, report = import_checkpoint(write(state, tmp_path / "published.pth"), name, out, **options)
    return load_encoder(out), report


@pytest.mark.parametrize("case", UNETS)
def test_a_minkunet_computes_what_the_published_one_does(tmp_path: Path, case: str) -> None:
    name, scheme, options = UNETS[case]
    state = unet_state(scheme, **options)
    encoder, _ = imported(tmp_path, name, state, overrides=CUBIC)
    index, intensity, active = cells((SIDE,) * 3)
    points = torch.cat(((index + 0.5) * 0.5 - 4.0, intensity[:, None]), dim=1)
    scale = FORMATS[name].intensity_scale
    columns = points if options["in_channels"] == 4 else points[:, 3:]
    features = columns.double() * torch.tensor([1.0] * (columns.shape[1] - 1) + [scale])
    volume = torch.zeros(SIDE, SIDE, SIDE, features.shape[1]).double()
    volume[tuple(index.T)] = features
    want = unet_forward(scheme, state, volume, active)[tuple(index.T)]
    with torch.no_grad():
        got = encoder(view_of(points), want_bev=False).points
    assert want.abs().mean() > 0.1
    torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=1e-3)


def test_slidr_on_the_cylinder(tmp_path: Path) -> None:
    """The axes rho, phi, z of the published pipeline are ours."""
    state = unet_state(slidr(), in_channels=1)
    overrides = {**CUBIC, "voxel": "cylinder", "voxel_size": [0.5, 22.5, 0.5]}
    encoder, _ = imported(tmp_path, "slidr", state, overrides=overrides)
    index, intensity, _ = cells((SIDE,) * 3)
    near = index[:, 0] < 7
    index, intensity = index[near], intensity[near]
    rho, phi, z = ((index + 0.5) * torch.tensor([0.5, 22.5, 0.5]) - torch.tensor([0.0, 180.0, 4.0])).T
    phi = torch.deg2rad(phi)
    points = torch.stack((rho * phi.cos(), rho * phi.sin(), z, intensity), dim=1)
    volume, active = torch.zeros(2, SIDE, SIDE, SIDE, 1).double()
    volume[tuple(index.T)], active[tuple(index.T)] = intensity[:, None].double() * 255.0, 1.0
    want = unet_forward(slidr(), state, volume, active)[tuple(index.T)]
    with torch.no_grad():
        got = encoder(view_of(points), want_bev=False).points
    torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=1e-3)


BEV: dict[str, Any] = {
    "widths": (6, 4, 5, 7),
    "height": 4,
    "flat": 8,
    "bev_widths": (5, 6),
    "bev_layers": (1, 2),
    "neck": (4, 4),
}
BEV_GRID = {"grid": {"x_min": -2.4, "x_max": 2.4, "y_min": -1.6, "y_max": 1.6, "cell": 0.8}}
PORT = ("pts_middle_encoder", "pts_backbone", "pts_neck")


def sparse_scene() -> tuple[Tensor, Tensor, Tensor]:
    """Points of 48 x 32 x 40 voxels, and BEVFusion's volume with one more layer on top, and its mask."""
    index, intensity, active = cells((48, 32, 40), share=0.03)
    corner = torch.tensor([-2.4, -1.6, -5.0])
    points = torch.cat(((index + 0.5) * torch.tensor([0.1, 0.1, 0.2]) + corner, intensity[:, None]), dim=1)
    volume = torch.zeros(48, 32, 41, 5).double()
    volume[tuple(index.T)] = torch.cat((points, torch.zeros(len(points), 1)), dim=1).double()
    volume[..., 3] *= 255.0
    return points, volume, torch.nn.functional.pad(active, (0, 0, 0, 1))


def test_second_computes_what_bevfusion_does(tmp_path: Path) -> None:
    state = bevfusion_state(**BEV)
    encoder, report = imported(tmp_path, "bevfusion", state, overrides=BEV_GRID)
    assert report.fresh == ()
    points, volume, active = sparse_scene()
    _, bev = bevfusion_forward(state, volume, active)
    with torch.no_grad():
        got = encoder(view_of(points)).bev
    assert got is not None
    assert bev.abs().mean() > 0.1
    torch.testing.assert_close(got[0].double(), bev.transpose(1, 2), rtol=1e-3, atol=1e-3)


def as_layout(state: State, order: tuple[int, ...]) -> State:
    return {name: t.permute(order) if t.ndim == 5 else t for name, t in state.items()}


@pytest.mark.parametrize("order", [(4, 0, 1, 2, 3), (0, 1, 2, 4, 3)], ids=["KRSC", "RSKC"])
def test_bevfusion_from_other_spconv_versions_and_its_port(tmp_path: Path, order: tuple[int, ...]) -> None:
    first, _ = imported(tmp_path, "bevfusion", bevfusion_state(**BEV), overrides=BEV_GRID)
    port = as_layout(bevfusion_state(**BEV, names=PORT), order)
    second, _ = imported(tmp_path, "bevfusion", port, overrides=BEV_GRID)
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_fused_checkpoint_gives_its_sparse_encoder(tmp_path: Path) -> None:
    """The 2D backbone of a camera-LiDAR model reads another map: it is left out and starts afresh."""
    state = bevfusion_state(**BEV)
    others = {
        "fuser.0.weight": torch.zeros(8, 12, 3, 3),
        "encoders.camera.backbone.patch_embed.weight": torch.zeros(3),
        "heads.object.shared_conv.weight": torch.zeros(3),
    }
    encoder, report = imported(tmp_path, "bevfusion", state | others, overrides=BEV_GRID)
    assert {name.split(".")[0] for name in report.fresh} == {"backbone"}
    assert report.left_out["decoder.backbone.*"] == "reads the fused map; 30 tensors"
    assert report.left_out["encoders.camera.*"] == "camera branch; 1 tensors"
    assert report.left_out["heads.*"] == "head; 1 tensors"
    points, volume, active = sparse_scene()
    sparse, _ = bevfusion_forward(state, volume, active)
    flattened: list[Tensor] = []
    encoder.flatten.register_forward_hook(lambda module, inputs, out: flattened.append(out.dense()))
    with torch.no_grad():
        encoder(view_of(points))
    torch.testing.assert_close(flattened[0][0].double(), sparse.permute(3, 2, 1, 0), rtol=1e-3, atol=1e-3)


def test_the_map_segmenter_has_its_own_voxels(tmp_path: Path) -> None:
    state = bevfusion_state(**BEV) | {"heads.map.classifier.0.weight": torch.zeros(2)}
    lidar, _ = import_checkpoint(write(state, tmp_path / "a.pth"), "bevfusion", tmp_path / "a.safetensors")
    assert (lidar["grid"]["x_max"], lidar["grid"]["cell"]) == (51.2, 0.8)


PUBLISHED = {
    "slidr": (
        unet_state,
        {"scheme": slidr(), "in_channels": 1},
        {"final.kernel": (96, 64), "final.bias": (1, 64)},
    ),
    "superflow": (unet_state, {"scheme": superflow(), "in_channels": 4}, {}),
    "scalr": (
        unet_state,
        {"scheme": spvnas(stem_layers=1), "in_channels": 1},
        {"classifier.0.weight": (17, 96)},
    ),
    "bevfusion": (bevfusion_state, {}, {"heads.object.shared_conv.weight": (128, 512, 3, 3)}),
}


def published(name: str) -> tuple[State, dict[str, tuple[int, ...]]]:
    """State of full width, and the shapes of its head."""
    make, options, head = PUBLISHED[name]
    if make is unet_state:
        options = {**options, "planes": PLANES, "layers": BASIC_34, "init": 32}
    return make(**options), head


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_sizes_fit(name: str) -> None:
    """Every published name and shape, at full width, has its place and its shape in ours."""
    state, head = published(name)
    converted = FORMATS[name].convert(state | {key: torch.zeros(shape) for key, shape in head.items()}, 255.0)
    with torch.device("meta"):
        ours = build_lidar_encoder(converted.lidar).state_dict()
    ours = {key: t for key, t in ours.items() if not converted.fresh or not key.startswith(converted.fresh)}
    assert {key: t.shape for key, t in converted.tensors.items()} == {key: t.shape for key, t in ours.items()}
    assert len(converted.left_out) == len({key.split(".")[0] for key in head}) + (name == "bevfusion")
    assert len(ours) == len(state)
    kept = sum(t.numel() for t in state.values()) - (27 * 16 if name == "bevfusion" else 0)
    assert sum(t.numel() for t in ours.values()) == kept


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model_points.", "backbone_3d.", "module.model.encoder.", "backbone."]
)
def test_any_prefix_is_found(tmp_path: Path, prefix: str) -> None:
    state = unet_state(slidr(), in_channels=1)
    others = {"final.kernel": torch.zeros(4, 64), "final.bias": torch.zeros(1, 64)}
    path = write(state | others, tmp_path / "a.pt", prefix, epoch=50, config={"lr": 0.5})
    _, report = import_checkpoint(path, "slidr", tmp_path / "a.safetensors")
    assert len(report.loaded) == len(state)
    assert report.left_out == {"final.*": "head; 2 tensors"}


def test_other_networks_of_the_file_are_reported(tmp_path: Path) -> None:
    state = unet_state(superflow(), in_channels=4)
    tensors = {f"backbone_3d.{name}": t for name, t in state.items()}
    tensors |= {"head_3d.classifier.weight": torch.zeros(2), "backbone_2d.encoder.a": torch.zeros(2)}
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(2)}}}
    torch.save({"state_dict": tensors, "optimizer": optimizer}, tmp_path / "a.pth")
    _, report = import_checkpoint(tmp_path / "a.pth", "superflow", tmp_path / "a.safetensors")
    assert report.left_out == {
        "state_dict.head_3d.*": "not of this network; 1 tensors",
        "state_dict.backbone_2d.*": "not of this network; 1 tensors",
        "optimizer.*": "not of this network; 1 tensors",
    }
    assert all(name.startswith("bev_head.") for name in report.fresh)
    assert "left out: optimizer.* (not of this network; 1 tensors)" in str(report)


def test_several_networks_need_a_choice(tmp_path: Path) -> None:
    student, teacher = (unet_state(slidr(), in_channels=1, seed=seed) for seed in (1, 2))
    torch.save({"student": student, "teacher": teacher}, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"behind \['student.', 'teacher.'\]\n.*\n.*--prefix"):
        import_checkpoint(tmp_path / "a.pt", "slidr", tmp_path / "a.safetensors")
    import_checkpoint(tmp_path / "a.pt", "slidr", tmp_path / "a.safetensors", prefix="teacher.")
    loaded = load_encoder(tmp_path / "a.safetensors").state_dict()["stem.0.norm.weight"]
    assert torch.equal(loaded, teacher["bn0.bn.weight"])


def test_what_does_not_fit_is_listed_and_nothing_is_written(tmp_path: Path) -> None:
    state = unet_state(slidr(), in_channels=1)
    del state["bntr5.bn.running_var"]
    state["block1.0.conv1.kernel"] = torch.zeros(27, 4, 5)
    state["block1.0.attention.weight"] = torch.zeros(2, 3)
    out = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match="does not fit MinkUNet") as error:
        import_checkpoint(write(state, tmp_path / "a.pt"), "slidr", out)
    text = str(error.value)
    assert "missing in the file: up.1.conv.norm.running_var (8,)" in text
    assert "unknown to the model: block1.0.attention.weight (2, 3)" in text
    assert "down.0.blocks.0.conv1.conv.weight: model (5, 3, 3, 3, 4), file (5, 3, 3, 3, 4)" not in text
    assert not out.exists()


def test_wrong_widths_are_named(tmp_path: Path) -> None:
    state = unet_state(superflow(), in_channels=4)
    state["conv5.conv.kernel"] = torch.zeros(8, NARROW[3], 3)
    with pytest.raises(
        ValueError, match=r"up.0.conv.conv.weight: model \(10, 2, 2, 2, 10\), file \(3, 2, 2, 2, 10\)"
    ):
        import_checkpoint(write(state, tmp_path / "a.pt"), "superflow", tmp_path / "a.safetensors")


def test_another_format_is_recognised_as_such(tmp_path: Path) -> None:
    path = write({"channel_mix.0.norm.weight": torch.zeros(768)}, tmp_path / "scalr.pth")
    with pytest.raises(DataError, match=r"(?s)state_dict.channel_mix.0.norm.weight \(768,\).*WaffleIron"):
        import_checkpoint(path, "scalr", tmp_path / "a.safetensors")
    path = write(bevfusion_state(**BEV), tmp_path / "bev.pth")
    with pytest.raises(DataError, match="remedy: the file has the names of: bevfusion"):
        import_checkpoint(path, "scalr", tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="unknown format 'seal'; known: bevfusion, mmdet3d, "):
        import_checkpoint(path, "seal", tmp_path / "a.safetensors")


@pytest.mark.parametrize("gone", ["block4.1.", "block4."])
def test_missing_blocks_are_named(tmp_path: Path, gone: str) -> None:
    state = {k: t for k, t in unet_state(slidr(), in_channels=1).items() if not k.startswith(gone)}
    blocks = r"\(2, 2, 2, 1," if gone == "block4.1." else r"\(2, 2, 2, 0,"
    with pytest.raises(DataError, match=f"no MinkUNet has {blocks}"):
        import_checkpoint(write(state, tmp_path / "a.pt"), "slidr", tmp_path / "a.safetensors")


def test_a_bevfusion_without_a_layer_is_refused(tmp_path: Path) -> None:
    whole = bevfusion_state(**BEV)
    state = {k: t for k, t in whole.items() if "conv_out" not in k}
    with pytest.raises(DataError, match=r"lacks \(by our names\) flatten.conv.weight"):
        import_checkpoint(write(state, tmp_path / "a.pt"), "bevfusion", tmp_path / "a.safetensors")
    state = {k: t for k, t in whole.items() if "blocks.1.0." not in k}
    with pytest.raises(ValueError, match=r"missing in the file: backbone.levels.1.0.weight \(6, 5, 3, 3\)"):
        import_checkpoint(write(state, tmp_path / "a.pt"), "bevfusion", tmp_path / "a.safetensors")


class Hub:
    """Stands for a message hub in a checkpoint of mmengine."""


@pytest.mark.parametrize(("protocol", "named"), [(2, r" \(\S*Hub\)"), (4, "")])
def test_pickled_objects_are_refused_with_a_remedy(tmp_path: Path, protocol: int, named: str) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"a": torch.zeros(2)}, "message_hub": Hub()}, path, pickle_protocol=protocol)
    with pytest.raises(DataError, match=f"(?s)pickled objects{named},.*keep its weights only.*torch.save"):
        import_checkpoint(path, "slidr", tmp_path / "a.safetensors")


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not a checkpoint")
    whole = write(unet_state(slidr(), in_channels=1), tmp_path / "whole.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    messages = {"none": "no checkpoint", "text": "no PyTorch checkpoint", "half": "cannot be read"}
    for name, message in messages.items():
        with pytest.raises(DataError, match=message):
            import_checkpoint(tmp_path / f"{name}.pth", "slidr", tmp_path / "a.safetensors")


def test_the_file_says_where_it_is_from_and_halves_become_floats(tmp_path: Path) -> None:
    state = {
        k: t.half() if t.is_floating_point() else t for k, t in unet_state(slidr(), in_channels=1).items()
    }
    out = tmp_path / "a.safetensors"
    import_checkpoint(write(state, tmp_path / "a.pt"), "slidr", out, intensity_scale=1.0)
    source = json.loads(read_metadata(out)["source"])
    assert source == {"file": "a.pt", "format": "slidr", "intensity_scale": 1.0}
    stem = load_encoder(out).state_dict()["stem.0.conv.weight"]
    assert stem.dtype == torch.float32
    assert torch.equal(stem[:, 1, 1, 1], state["conv0p1s1.kernel"][13].T.float())


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    path = write(unet_state(superflow(), in_channels=4), tmp_path / "a.pth")
    out = tmp_path / "new" / "backbone.safetensors"
    command = ["import_weights", str(path), "--out", str(out)]

    def run(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", [*command, *options])
        runpy.run_path(str(REPOSITORY / "tools/import_weights.py"), run_name="__main__")
        return capsys.readouterr().out

    text = run("--format", "superflow", "--lidar-options", "voxel=cubic", "voxel_size=[0.2,0.2,0.4]")
    assert "lidar = dict(_delete_=True, type='MinkUNet', depth=18, widths=[4, 6, 8, 10, 10, 8, 6, 4]" in text
    assert load_encoder(out).inputs.grid.size == (0.2, 0.2, 0.4)
    with pytest.raises(SystemExit) as stop:
        run("--format", "slidr")
    assert stop.value.code == 2
    assert "error: no tensor of the checkpoint is named conv0p1s1.kernel" in capsys.readouterr().err


EXAMPLES = re.findall(r"(?ms)^    lidar = (dict\(.*?\))\n(?=\n|    init|\Z)", DOCUMENTATION.read_text())


@pytest.mark.parametrize(("name", "example"), zip(PUBLISHED, EXAMPLES, strict=True))
def test_the_examples_of_the_documentation_are_the_published_networks(name: str, example: str) -> None:
    state, _ = published(name)
    lidar = FORMATS[name].convert(state, 255.0).lidar
    written = {key: value for key, value in eval(example).items() if key != "_delete_"}
    with torch.device("meta"):
        ours, theirs = build_lidar_encoder(written), build_lidar_encoder(lidar)
    assert {k: t.shape for k, t in ours.state_dict().items()} == {
        k: t.shape for k, t in theirs.state_dict().items()
    }
    assert (ours.grid, vars(ours.inputs)) == (theirs.grid, vars(theirs.inputs))
