"""ONNX: the graph computes what the network does, for other numbers of pillars than it was traced with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_exports import PILLARS, SECOND, made, points_in, randomise, view_of
from test_export_heads import HEAD, detector
from test_export_images import RESNET
from test_export_images import made as image_made

from pc3d.data.errors import DataError
from pc3d.export import export_checkpoint
from pc3d.export.latency import measure, sweep
from pc3d.export.onnx_networks import OnPillars
from pc3d.export.onnx_target import Graph
from pc3d.export.pillars import PillarGrid, pillars_of
from pc3d.models.bev_models import build_bev_model
from pc3d.models.lidar.pointpillars import PointPillars
from pc3d.models.weights import save_backbone

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def run(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    return dict(zip(outputs, session.run(None, inputs), strict=True))


def fed(encoder: PointPillars, points: torch.Tensor) -> dict[str, np.ndarray]:
    found = pillars_of(points.numpy(), PillarGrid.of(encoder))
    return dict(zip(("pillars", "counts", "cells"), found, strict=True))


@pytest.mark.parametrize("centre_z", [False, True])
def test_pillars_with_slots_are_the_pillars_without(centre_z: bool) -> None:
    encoder = PointPillars(
        **{k: v for k, v in {**PILLARS, "centre_z": centre_z}.items() if k not in ("type", "grid")}
    )
    randomise(encoder.eval())
    points = points_in({**PILLARS, "grid": vars(encoder.grid)}, columns=4)
    points[:5, 2] = 9.0  # out of range
    network = OnPillars(encoder, None)
    with torch.no_grad():
        (got,) = network(*(torch.from_numpy(array) for array in fed(encoder, points).values()))
        want = encoder(view_of(points)).bev
    assert want is not None
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_a_detector(tmp_path: Path) -> None:
    model = detector(tmp_path / "detector.safetensors", {"lidar": PILLARS, "fused_channels": 6}, HEAD)
    (path, snippet), _ = export_checkpoint(tmp_path, "onnx", tmp_path / "out")
    for count in (30, 900):
        points = points_in(PILLARS, count)
        inputs = fed(model.network.lidar, points)
        got = run(path, inputs)
        with torch.no_grad():
            bev = model.network.lidar(view_of(points)).bev
            want = model.head(model.network.backbone(model.network.fuser(bev)))
        assert list(got) == [f"{branch}_{group}" for group in (0, 1) for branch in want[group]]
        for group, maps in enumerate(want):
            for branch, tensor in maps.items():
                assert np.abs(got[f"{branch}_{group}"] - tensor.numpy()).max() < 1e-4
    namespace: dict[str, Any] = {"onnxruntime": onnxruntime, **inputs}
    text = snippet.read_text().replace('"onnx.onnx"', repr(str(path)))
    exec(text, namespace)
    assert set(namespace["maps"]) == set(got)


@pytest.mark.long  # tracing takes seconds
def test_an_encoder_gives_its_map(tmp_path: Path) -> None:
    encoder = made(tmp_path / "a.safetensors", {**PILLARS, "in_channels": 2, "columns": [2, 3]})
    (path, _), _ = export_checkpoint(tmp_path / "a.safetensors", "onnx", tmp_path)
    points = points_in(PILLARS)
    with torch.no_grad():
        want = encoder(view_of(points)).bev
    assert want is not None
    assert np.abs(run(path, fed(encoder, points))["bev"] - want.numpy()).max() < 1e-4


@pytest.mark.long  # tracing takes seconds
def test_an_image_network(tmp_path: Path) -> None:
    encoder = image_made(tmp_path / "image_backbone.safetensors", RESNET, stages=["stage2", "stage4"])
    (path, _), _ = export_checkpoint(tmp_path / "image_backbone.safetensors", "onnx", tmp_path)
    images = torch.rand(1, 3, 224, 448, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        want = encoder.pyramid(images)
    got = run(path, {"images": images.numpy()})
    assert list(got) == ["level_0", "level_1"]
    for a, b in zip(got.values(), want, strict=True):
        assert np.abs(a - b.numpy()).max() < 1e-4 * float(b.abs().max())


@pytest.mark.long  # tracing takes seconds
def test_a_head_alone(tmp_path: Path) -> None:
    """Of a SECOND detector, whose sparse part no graph can hold, and of a map segmenter."""
    model = detector(tmp_path / "a.safetensors", {"lidar": SECOND, "fused_channels": 6}, HEAD)
    (path, _), found = export_checkpoint(tmp_path / "a.safetensors", "onnx-head", tmp_path)
    assert found.left_out == {"branches": "their BEV maps are the inputs"}
    bev = torch.randn(2, 16, 2, 4, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        want = model.head(model.network.fuser(bev))
    got = run(path, {"bev_lidar": bev.numpy()})
    assert np.abs(got["dim_1"] - want[1]["dim"].numpy()).max() < 1e-4


@pytest.mark.long  # tracing takes seconds
def test_a_map_segmenter(tmp_path: Path) -> None:
    network = {"lidar": PILLARS, "fused_channels": 5}
    head = {"map_grid": {"x_min": 1.0, "x_max": 4.0, "y_min": -0.5, "y_max": 0.5, "cell": 0.25}, "hidden": 4}
    model = build_bev_model("map", network, head).eval()
    randomise(model)
    about = {"task": "map", "network": json.dumps(network), "head": json.dumps(head)}
    save_backbone(model, tmp_path / "map_segmenter.safetensors", about)
    (path, _), _ = export_checkpoint(tmp_path, "onnx", tmp_path)
    points = points_in(PILLARS)
    with torch.no_grad():
        want = model.head(model.network.fuser(model.network.lidar(view_of(points)).bev))
    assert np.abs(run(path, fed(model.network.lidar, points))["map"] - want.numpy()).max() < 1e-4


def test_what_no_graph_can_hold(tmp_path: Path) -> None:
    made(tmp_path / "a.safetensors", SECOND)
    with pytest.raises(DataError, match=r"SECOND has sparse convolutions, for which ONNX has no operator"):
        export_checkpoint(tmp_path / "a.safetensors", "onnx", tmp_path / "out")
    detector(tmp_path / "c.safetensors", {"lidar": SECOND, "fused_channels": 6}, HEAD)
    with pytest.raises(DataError, match=r"SECOND has sparse convolutions(?s:.*)--to onnx-head"):
        export_checkpoint(tmp_path / "c.safetensors", "onnx", tmp_path / "out")
    with pytest.raises(DataError, match="no head on a BEV map"):
        export_checkpoint(tmp_path / "a.safetensors", "onnx-head", tmp_path / "out")
    detector(tmp_path / "b.safetensors", {"lidar": PILLARS}, {"type": "TransFusionHead", "queries": 3})
    with pytest.raises(DataError, match="TransFusionHead chooses queries"):
        export_checkpoint(tmp_path / "b.safetensors", "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_without_the_packages_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    made(tmp_path / "a.safetensors", PILLARS)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install pc3d\[onnx\]"):
        export_checkpoint(tmp_path / "a.safetensors", "onnx", tmp_path / "out")


@pytest.mark.long  # tracing takes seconds
def test_what_a_pass_costs() -> None:
    encoder = PointPillars(pillar_channels=4, bev_widths=(4, 4), bev_layers=(1, 1), bev_channels=8).eval()
    inputs = sweep(PillarGrid.of(encoder), points=200)
    free = {"pillars": {0: "V", 1: "M"}, "counts": {0: "V"}, "cells": {0: "V"}}
    found = measure(Graph(OnPillars(encoder, None), inputs, free, ""), repeats=1)
    assert found["onnxruntime_ms"] > 0
    assert found["pytorch_ms"] > 0


def test_pillars_of_points() -> None:
    grid = PillarGrid(
        (0.0, 0.0, -1.0), (4.0, 2.0, 1.0), (1.0, 0.5), (4, 4), (0, 1, 2, 3), (1.0, 1.0, 1.0, 255.0)
    )
    points = np.array(
        [
            [0.5, 0.1, 0.0, 0.2],
            [3.9, 1.9, 0.0, 1.0],
            [0.6, 0.2, 0.5, 0.4],
            [4.0, 1.0, 0.0, 0.0],
            [1.0, 0.5, 1.0, 0.0],
        ],
        np.float32,
    )
    pillars, counts, cells = pillars_of(points, grid)
    assert cells.tolist() == [[0, 0], [3, 3]]
    assert counts.tolist() == [2, 1]
    np.testing.assert_allclose(pillars[0, 1], [0.6, 0.2, 0.5, 0.6, 0.2, 0.5, 102.0], rtol=1e-6)
    assert not pillars[1, 1].any()
    pillars, counts, _ = pillars_of(points, grid, most=1)
    assert pillars.shape == (2, 1, 7)
    assert counts.tolist() == [1, 1]
    pillars, counts, cells = pillars_of(points[:0], grid)
    assert (pillars.shape, counts.tolist(), cells.tolist()) == ((1, 1, 7), [0], [[0, 0]])
