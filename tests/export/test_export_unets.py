"""MinkUNets in the projects that have them: what goes out computes there what it does here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_cases import UNET
from published_states import UNetScheme, mmdet3d, slidr, spvnas, superflow, torchsparse_offsets, unet_forward
from small_exports import close, exported, made, view_of
from torch import Tensor

from pc3d.export import TARGETS
from pc3d.export.unets import SLIDR as SLIDR_TARGET

SIDE = 16
POINTCEPT = {**UNET, "stem_kernels": [5], "norm_eps": 1e-3, "widen": "down"}
SLIDR = {**UNET, "stem_kernels": [3], "in_channels": 1, "columns": [3]}


def spconv_scheme(
    conv: str, layers: dict[str, Callable[[int], tuple[str, Any]]], stem: list[str]
) -> UNetScheme:
    """Names of a network on spconv: convolution and norm of a layer are `.0` and `.1`."""
    levels = [(f"{name}.0", f"{name}.1", block) for name, block in (layers[s](i) for s, i in LEVELS)]
    inside = {"conv1": "conv1", "norm1": "bn1", "conv2": "conv2", "norm2": "bn2", "conv3": "none"}
    inside |= {"downsample": f"{conv}.0", "downsample_norm": f"{conv}.1"}
    size = 3 if len(stem) == 2 else 5
    return UNetScheme("torchsparse", [(f"{s}.0", f"{s}.1") for s in stem], levels, inside, size)


LEVELS = [(side, i) for side in ("down", "up") for i in range(4)]
SPCONV = spconv_scheme(
    "downsample",
    {
        "down": lambda i: (f"encoder.{i}.0", lambda j: f"encoder.{i}.{j + 1}"),
        "up": lambda i: (f"decoder.{i}.0", lambda j: f"decoder.{i}.1.{j}"),
    },
    ["conv_input.0", "conv_input.1"],
)
SPUNET = spconv_scheme(
    "proj",
    {
        "down": lambda i: (f"down.{i}", lambda j: f"enc.{i}.block{j}"),
        "up": lambda i: (f"up.{3 - i}", lambda j: f"dec.{3 - i}.block{j}"),
    },
    ["conv_input"],
)
MINKOWSKI = UNetScheme(
    "minkowski",
    [(f"conv_input.{i}.net.0", f"conv_input.{i}.net.1.bn") for i in (0, 1)],
    [
        (f"encoder.{i}.0.net.0", f"encoder.{i}.0.net.1.bn", lambda j, i=i: f"encoder.{i}.{j + 1}")
        for i in range(4)
    ]
    + [
        (f"decoder.{i}.0.net.0", f"decoder.{i}.0.net.1.bn", lambda j, i=i: f"decoder.{i}.1.{j}")
        for i in range(4)
    ],
    {f"conv{i}": f"conv{i}" for i in (1, 2, 3)}
    | {f"norm{i}": f"norm{i}.bn" for i in (1, 2, 3)}
    | {"downsample": "downsample.net.0", "downsample_norm": "downsample.net.1.bn"},
)


def spconv_2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What mmdetection3d makes of kernels without metadata when it loads them with spconv 2."""
    return {n: t.permute(4, 0, 1, 2, 3).contiguous() if t.ndim == 5 else t for n, t in state.items()}


def kernels_by_offset(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kernels of spconv 2 over x, y, z, (out, kx, ky, kz, in), as (K, in, out) in torchsparse's order."""
    found = {}
    for name, tensor in state.items():
        if tensor.ndim != 5:
            found[name] = tensor
            continue
        size, (out, inner) = tensor.shape[1], (tensor.shape[0], tensor.shape[4])
        if size == 1:  # its own kernel multiplies by the memory, read as (in, out)
            kernel = tensor.reshape(-1).reshape(inner, out)
        else:
            shift = size // 2 if size % 2 else 0
            places = [tuple(o + shift for o in offset) for offset in torchsparse_offsets(size)]
            kernel = torch.stack([tensor[:, x, y, z].T for x, y, z in places])
        found[f"{name.removesuffix('.weight')}.kernel"] = kernel
    return found


def cloud(config: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Voxels (N, 3) along x, y, z, and a point with intensity in each."""
    mask = torch.rand(SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(3)) < 0.15
    index = mask.nonzero()
    corner, size = torch.tensor(config["point_range"][:3]), torch.tensor(config["voxel_size"])
    intensity = torch.rand(len(index), 1, generator=torch.Generator().manual_seed(4))
    return index, torch.cat(((index + 0.5) * size + corner, intensity), dim=1)


CASES = {
    "pointcept": (POINTCEPT, SPUNET, "backbone.", ("kernels",), 1e-3),
    "mmdet3d-spconv": (UNET, SPCONV, "backbone.", ("loaded", "kernels"), 1e-5),
    "mmdet3d-torchsparse": (UNET, mmdet3d(), "backbone.", (), 1e-5),
    "mmdet3d-minkowski": (UNET, MINKOWSKI, "backbone.", (), 1e-5),
    "superflow": (UNET, superflow(), "", (), 1e-5),
    "spvnas": (UNET, spvnas(), "", (), 1e-5),
    "slidr": (SLIDR, slidr(), "", (), 1e-5),
}
FEEDS = {"superflow": [1, 1, 1, 255], "slidr": [255]}
"""What the project multiplies the columns that it reads by; the others take them as they are."""


@pytest.mark.parametrize("target", CASES)
def test_the_output_is_the_same(tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config, scheme, prefix, steps, eps = CASES[target]
    if target == "slidr":  # narrower than the one that SLidR has
        narrow = replace(TARGETS[target], export=replace(SLIDR_TARGET, sizes=None).export)
        monkeypatch.setitem(TARGETS, target, narrow)
    encoder = made(tmp_path / "a.safetensors", config)
    state = exported(tmp_path / "a.safetensors", target)
    assert all(name.startswith(prefix) for name in state)
    state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if "loaded" in steps:
        state = spconv_2(state)
    if "kernels" in steps:
        state = kernels_by_offset(state)
    index, points = cloud(config)
    columns = points[:, config.get("columns", [0, 1, 2, 3])].double()
    columns = columns * torch.tensor(FEEDS.get(target, [1.0])).double()
    volume = torch.zeros(SIDE, SIDE, SIDE, columns.shape[1]).double()
    active = torch.zeros(SIDE, SIDE, SIDE, 1).double()
    volume[tuple(index.T)], active[tuple(index.T)] = columns, 1.0
    want = unet_forward(scheme, state, volume, active, eps)[tuple(index.T)]
    with torch.no_grad():
        got = encoder(view_of(points), want_bev=False).points
    close(got, want)
