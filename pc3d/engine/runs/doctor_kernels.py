"""Whether spconv and Open3D work here; run in a process of its own, because a wrong build may crash or hang.

python -m pc3d.engine.runs.doctor_kernels sparse
python -m pc3d.engine.runs.doctor_kernels picture
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

_SHAPE, _CHANNELS = (6, 8, 10), (3, 5)


def sparse_difference(device: str) -> float:
    """How far a sparse convolution is from a dense one: outputs and both gradients, the worst, relative."""
    from pc3d.ops.sparse import sparse_tensor, submanifold_conv

    draw = torch.Generator().manual_seed(0)
    coords = (torch.rand(2, *_SHAPE, generator=draw) < 0.3).nonzero().to(device)
    features = torch.randn(len(coords), _CHANNELS[0], generator=draw).to(device).requires_grad_()
    cotangent = torch.randn(len(coords), _CHANNELS[1], generator=draw).to(device)
    layer = submanifold_conv(*_CHANNELS, key="doctor").to(device)
    got = layer(sparse_tensor(features, coords, _SHAPE, 2)).features
    where = coords.unbind(1)
    dense = features.new_zeros(2, *_SHAPE, _CHANNELS[0]).index_put(where, features).permute(0, 4, 1, 2, 3)
    weight = layer.weight.permute(0, 4, 1, 2, 3)
    want = functional.conv3d(dense, weight, padding=1).permute(0, 2, 3, 4, 1)[where]
    inputs = (features, layer.weight)
    gradients = (torch.autograd.grad(rows, inputs, cotangent) for rows in (got, want))
    pairs = [(got, want), *zip(*gradients, strict=True)]
    return max(float((a - b).detach().abs().max() / b.detach().abs().max()) for a, b in pairs)


def check_sparse() -> str:
    """Raises `RuntimeError` where spconv computes something else than the dense convolution."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    difference = sparse_difference(device)
    if not difference < (1e-2 if device == "cuda" else 1e-4):  # CUDA multiplies in TF32
        raise RuntimeError(f"on {device} it differs from a dense convolution by {difference:.2g}")
    return f"forward and backward on {device} equal a dense convolution (to {difference:.1g})"


def check_picture() -> str:
    """Raises what drawing raises, or `RuntimeError` for an empty picture."""
    scene3d = importlib.import_module("pc3d.viz.scene3d")  # of a later room: only a command may ask for it
    points = np.random.default_rng(0).uniform(-9, 9, (500, 3))
    scene = scene3d.Scene3D(points, np.full((500, 3), 255, dtype=np.uint8))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        scene3d.render_scene(scene, path, view="bev", size=(64, 48))
        with Image.open(path) as picture:
            empty = np.ptp(np.asarray(picture)) == 0
    if empty:
        raise RuntimeError("the picture is empty")
    return "Open3D draws off screen"


if __name__ == "__main__":
    print({"sparse": check_sparse, "picture": check_picture}[sys.argv[1]]())
