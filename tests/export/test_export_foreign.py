"""What the targets' own code gave for exported weights.

OpenPCDet 8caccce, mmdetection3d fe25f7a (mmcv-lite 2.1.0, mmdet 3.3.0), Pointcept d74c646, torchvision 0.29.1
and timm 1.0.31, on a CPU with spconv-cu120 2.3.6 and torch 2.13.

`foreign_outputs.py` ran them. A weight that changes here changes the output, and the numbers there are fixed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_cases import (
    CASES,
    IMAGES,
    detector_made,
    head_maps,
    images_made,
    pictures,
    places,
    unet_points,
)
from small_exports import bev_of, exported, made, points_in, view_of

FOREIGN: dict[str, Any] = json.loads((Path(__file__).parent / "foreign_outputs.json").read_text())


def output(name: str, path: Path) -> torch.Tensor:
    """Of pc3d's network, whose checkpoint is written to `path`."""
    case = CASES[name]
    with torch.no_grad():
        if name == "openpcdet-head":
            return head_maps(detector_made(path))
        if case.target in IMAGES:
            return images_made(path, case.config)(pictures(64)[0])
        encoder = made(path, case.config)
        if case.config["type"] == "MinkUNet":
            return encoder(view_of(unet_points(case.config)), want_bev=False).points
        return bev_of(encoder, points_in(case.config))


LARGE = {"torchvision-resnet"}
"""Of 25 million weights."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name in LARGE else []) for name in CASES]
)
def test_the_targets_code_computes_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.safetensors"
    got, want = places(output(name, path)), FOREIGN[name]["output"]
    scale = max(1.0, want[-1])
    assert max(abs(a - b) for a, b in zip(got, want, strict=True)) < 1e-5 * scale
    assert len({round(value, 6) for value in want}) > 10
    case = CASES[name]
    tensors = exported(path, case.target, case.points)
    shapes = {key: list(tensor.shape) for key, tensor in tensors.items()}
    if name == "openpcdet-head":
        shapes = {key: shape for key, shape in shapes.items() if key.startswith("dense_head.")}
    expected = FOREIGN[name]["keys"]
    assert sorted(shapes) == sorted(expected)
    of_spconv_1 = [
        key for key, shape in shapes.items() if case.target.startswith("mmdet3d") and len(shape) == 5
    ]
    for key in of_spconv_1:  # its loader permutes these
        shapes[key] = [shapes[key][4], *shapes[key][:4]]
    assert shapes == expected


def test_the_weights_are_the_ones_that_were_run(tmp_path: Path) -> None:
    """Another seed gives other numbers, so that the comparison can fail."""
    encoder = made(tmp_path / "a.safetensors", CASES["openpcdet-plain"].config, seed=1)
    got = places(bev_of(encoder, points_in(CASES["openpcdet-plain"].config)))
    want = FOREIGN["openpcdet-plain"]["output"]
    assert max(abs(a - b) for a, b in zip(got, want, strict=True)) > 0.1
