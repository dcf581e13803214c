"""Tables of alike key frames: pooled features, likeness by blocks, labels of stages, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import MINK

from pc3d.cli import dispatch
from pc3d.data.batch import PointView
from pc3d.data.errors import DataError
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_sweep
from pc3d.data.sampler_table import SamplerTable
from pc3d.evaluation.likeness import joined_labels, likeness_table, most_alike, pooled_features
from pc3d.evaluation.protocol.networks import Backbone
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.weights import save_backbone


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return Backbone(build_lidar_encoder(MINK), MINK, FrameConfig())


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 9), count=st.integers(1, 5), block=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_most_alike_are_those_of_a_plain_sort(rows: int, count: int, block: int, seed: int) -> None:
    features = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = most_alike(features, count, block)
    assert found.shape == (rows, count)
    for i in range(rows):
        order = sorted((j for j in range(rows) if j != i), key=lambda j: -float(features[i] @ features[j]))
        expected = order[:count]
        assert found[i].tolist() == expected + [-1] * (count - len(expected))


def test_labels_of_stages_are_joined_in_a_mixed_radix() -> None:
    joined = joined_labels(np.array([2, 0, -1]), np.array([1, 3, 5]), 10)
    assert joined.tolist() == [21, 3, -1]


def test_a_frame_is_the_unit_mean_of_its_points(tiny_index: Path, backbone: Backbone) -> None:
    index = SweepIndex.open(tiny_index)
    rows = index.key_rows("sim_train")[:2]
    backbone.encoder.train()
    pooled = pooled_features(index, rows, backbone)
    assert backbone.encoder.training
    torch.testing.assert_close(pooled.norm(dim=1), torch.ones(2))
    backbone.encoder.eval()
    points = torch.from_numpy(load_sweep(index[int(rows[1])]))
    zero = torch.zeros(len(points), dtype=torch.long)
    view = PointView(points, zero, torch.arange(len(points)), torch.eye(4)[None], 1)
    with torch.no_grad():
        output = backbone.encoder(view, want_bev=False)
    mean = output.points[output.valid].mean(dim=0)
    torch.testing.assert_close(pooled[1], mean / mean.norm(), rtol=1e-4, atol=1e-5)


def test_the_command_writes_a_table_that_a_second_stage_divides(
    tiny_index: Path, backbone: Backbone, tmp_path: Path
) -> None:
    checkpoint, index = tmp_path / "backbone.safetensors", SweepIndex.open(tiny_index)
    save_backbone(backbone.encoder, checkpoint, {"lidar": json.dumps(MINK), "frames": "{}"})
    common = ["neighbours", str(tiny_index), "--checkpoint", str(checkpoint), "--split", "sim_train"]
    dispatch([*common, "--out", str(tmp_path / "a.npz"), "--count", "3", "--clusters", "2"])
    table = SamplerTable.open(tmp_path / "a.npz")
    assert table.fingerprints == (index.fingerprint,)
    assert table.rows.tolist() == index.key_rows("sim_train").tolist()
    assert table.neighbours.shape == (6, 3)
    assert all(n not in own for n, own in enumerate(table.neighbours.tolist()))
    assert set(table.labels.tolist()) <= {0, 1}
    after = ["--after", str(tmp_path / "a.npz"), "--clusters", "3"]
    dispatch([*common, "--out", str(tmp_path / "b.npz"), *after])
    divided = SamplerTable.open(tmp_path / "b.npz")
    assert (divided.labels // 3).tolist() == table.labels.tolist()
    assert divided.neighbours.shape == (6, 128)
    with pytest.raises(DataError, match="of other key frames"):
        likeness_table([index], "sim_val", backbone, 3, 2, table)
    with pytest.raises(DataError, match="6 key frames cannot be 7 clusters"):
        likeness_table([index], "sim_train", backbone, 3, 7)
    with pytest.raises(ValueError, match="--after divides the clusters"):
        dispatch([*common, "--out", "x", "--clusters", "0", "--after", "x"])
