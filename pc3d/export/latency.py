"""What a pass costs in onnxruntime beside PyTorch on a CPU: `python -m pc3d.export.latency` prints JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pc3d.export.onnx_networks import OnImages, OnMap, OnPillars
from pc3d.export.onnx_target import Graph, trace
from pc3d.export.pillars import PillarGrid, pillars_of
from pc3d.models.bev_models import build_bev_model
from pc3d.models.image import build_image_encoder
from pc3d.models.image.common import LevelImageEncoder
from pc3d.models.lidar.pointpillars import PointPillars

POINTS = 30_000


def measure(graph: Graph, repeats: int = 5, threads: int = 1) -> dict[str, Any]:
    """Milliseconds of the fastest of some passes, in each of the two."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    torch.set_num_threads(threads)
    arrays = {name: tensor.numpy() for name, tensor in graph.inputs.items()}
    with TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "a.onnx"
        trace(graph, path)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        theirs = _fastest(lambda: session.run(None, arrays), repeats)
        ours = _fastest(lambda: graph.network(*graph.inputs.values()), repeats)
        size = path.stat().st_size
    return {
        "pytorch_ms": round(ours, 1),
        "onnxruntime_ms": round(theirs, 1),
        "file_mb": round(size / 1e6, 1),
        "threads": threads,
    }


def _fastest(call: Callable[[], object], repeats: int) -> float:
    call()  # what is made once
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - start))
    return min(found)


def sweep(grid: PillarGrid, points: int = POINTS) -> dict[str, Tensor]:
    """Inputs of a made-up sweep, whose points thin out with the distance as a LiDAR's do."""
    random = np.random.default_rng(0)
    rho, phi = 2 + random.gamma(1.5, 10, points), random.uniform(-np.pi, np.pi, points)
    cloud = np.stack((rho * np.cos(phi), rho * np.sin(phi), random.normal(-1, 0.5, points)), axis=1)
    cloud = np.concatenate((cloud, random.random((points, 1))), axis=1).astype(np.float32)
    arrays = pillars_of(cloud, grid, most=32)
    return {name: torch.from_numpy(a) for name, a in zip(("pillars", "counts", "cells"), arrays, strict=True)}


def detector() -> Graph:
    """A PointPillars detector of the default size with CenterPoint's head, on one sweep."""
    model = build_bev_model(
        "detection", {"lidar": {"type": "PointPillars"}, "fused_channels": None}, {}
    ).eval()
    encoder = model.network.lidar
    assert isinstance(encoder, PointPillars)
    network = OnPillars(encoder, OnMap(model.network, model.head))
    free = {"pillars": {0: "V", 1: "M"}, "counts": {0: "V"}, "cells": {0: "V"}}
    return Graph(network, sweep(PillarGrid.of(encoder)), free, "")


def images() -> Graph:
    """A ResNet-50 on one image of 256 x 704."""
    encoder = build_image_encoder({"type": "TransformersEncoder", "model": {"model_type": "resnet"}})
    assert isinstance(encoder, LevelImageEncoder)
    return Graph(OnImages(encoder.eval()), {"images": torch.rand(1, 3, 256, 704)}, {"images": {}}, "")


if __name__ == "__main__":
    torch.manual_seed(0)
    made = {"PointPillars, CenterHead": detector(), "ResNet-50, 256 x 704": images()}
    found = {}
    for name, graph in made.items():
        found[name] = {**measure(graph), "inputs": {k: list(t.shape) for k, t in graph.inputs.items()}}
    print(json.dumps(found, indent=2))
