"""FAC: the composition of its losses, its gates, its momentum encoder and its options."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import TinyLidar, make_batch

from pc3d.contrast.foreground import feature_contrast, geometric_contrast
from pc3d.models.lidar.momentum import MomentumEncoder
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.fac import FAC
from pc3d.ops.sampling import balanced_sample


def test_fac_is_the_mean_over_sweeps_of_its_two_losses() -> None:
    """With room for all points, every point that both views hold takes part."""
    batch, lidar = make_batch(), TinyLidar()
    objective = FAC(lidar, num_anchors=500, num_background=500, geo=0.5, fea=2.0, matches=3)
    objective.key.network.linear.weight.data += 0.1
    objective.key.momentum = 1.0  # stays where it is
    encodings = Encodings(batch, lidar)
    result = objective(encodings)
    frame = batch.now
    rows = frame.views["b"].row
    a = lidar(frame.views["a"]).points[rows]
    b = objective.key(frame.views["b"]).points
    gated = [F.normalize(objective.gate(d).sigmoid() * d, dim=1) for d in (a, b.detach())]
    expected = torch.zeros(())
    for sample in range(2):
        here = frame.row_batch[rows] == sample
        ids = frame.regions[rows]
        front, back = here & (ids >= 0), here & (ids < 0)
        d_a, d_b = F.normalize(a, dim=1), F.normalize(b, dim=1)
        geo = geometric_contrast(d_a[front], d_b[here], ids[front], ids[here])
        fea = feature_contrast(gated[0][front], gated[1][front], gated[1][back], matches=3)
        expected = expected + (0.5 * geo + 2.0 * fea) / 2
    torch.testing.assert_close(result["loss"], expected)
    assert encodings.passes == {("lidar", "t", "a"): 1, ("key", "t", "b"): 1}


def test_no_gradient_reaches_the_key_side() -> None:
    batch, lidar = make_batch(), TinyLidar()
    objective = FAC(lidar)
    objective(Encodings(batch, lidar))["loss"].backward()
    assert all(p.grad is None for p in objective.key.parameters())
    assert objective.gate.weight.grad is not None
    assert float(lidar.linear.weight.grad.abs().sum()) > 0


def test_the_key_encoder_is_an_exponential_average() -> None:
    lidar = TinyLidar()
    key = MomentumEncoder(lidar, 0.9)
    start = lidar.linear.weight.detach().clone()
    weights = [torch.randn_like(start) for _ in range(4)]
    for weight in weights:
        lidar.linear.weight.data.copy_(weight)
        key.update(lidar)
    expected = 0.9**4 * start + sum(0.1 * 0.9 ** (3 - i) * w for i, w in enumerate(weights))
    torch.testing.assert_close(key.network.linear.weight, expected)
    with pytest.raises(ValueError, match="momentum"):
        MomentumEncoder(lidar, 1.5)


def test_the_key_encoder_follows_in_training_only() -> None:
    batch, lidar = make_batch(), TinyLidar()
    objective = FAC(lidar, momentum=0.0)
    lidar.linear.weight.data += 1.0
    objective.eval()(Encodings(batch, lidar))
    assert not torch.equal(objective.key.network.linear.weight, lidar.linear.weight)
    objective.train()(Encodings(batch, lidar))
    assert torch.equal(objective.key.network.linear.weight, lidar.linear.weight)


def test_a_gate_of_one_value_changes_nothing_after_normalisation() -> None:
    """The gate is per channel for that reason: a scalar gate is cancelled."""
    objective = FAC(TinyLidar())
    torch.nn.init.zeros_(objective.gate.weight)
    torch.nn.init.constant_(objective.gate.bias, -1.3)
    d, f = objective._features(torch.randn(20, 6))
    torch.testing.assert_close(d, f)


def test_segments_may_be_supervoxels() -> None:
    batch, lidar = make_batch(), TinyLidar()
    torch.manual_seed(0)
    a, b = FAC(lidar), FAC(lidar, segments="supervoxels")
    b.load_state_dict(a.state_dict())
    losses = [float(o(Encodings(batch, lidar))["loss"].detach()) for o in (a, b)]
    assert abs(losses[0] - losses[1]) > 1e-3
    needs = FAC.needs_of({"segments": "supervoxels"})
    assert needs.supervoxels
    assert not needs.regions
    batch.now.supervoxels = None
    with pytest.raises(ValueError, match="needs supervoxels"):
        b(Encodings(batch, lidar))
    with pytest.raises(ValueError, match="unknown segments"):
        FAC(lidar, segments="boxes")


def test_anchors_are_balanced_over_segments() -> None:
    groups = torch.tensor([0] * 500 + [1] * 40 + [2] * 3 + [-1] * 100)
    rows = balanced_sample(groups, 60, torch.Generator().manual_seed(0))
    assert len(rows.unique()) == 60
    counts = groups[rows].bincount()
    assert counts[2] == 3
    assert abs(int(counts[0]) - int(counts[1])) <= 1
    every = balanced_sample(groups, 10_000, torch.Generator().manual_seed(0))
    assert sorted(every.tolist()) == list(range(543))
