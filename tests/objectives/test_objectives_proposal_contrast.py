"""ProposalContrast against a direct composition, and what its options change."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import TinyLidar, make_batch
from torch import Tensor

from pc3d.contrast.nce import info_nce
from pc3d.contrast.swav import swapped_assignment
from pc3d.data.batch import Batch
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.proposal_contrast import ProposalContrast
from pc3d.objectives.proposal_encoder import ProposalEncoder


class Setup:
    def __init__(self, **options: object) -> None:
        torch.manual_seed(0)
        self.lidar = TinyLidar(8)
        self.objective = ProposalContrast(self.lidar, radius=4.0, **options)  # type: ignore[arg-type]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        return self.objective(Encodings(batch, self.lidar))


def turn(batch: Batch, view: str, angle: float, scale: float) -> None:
    """Give a view an augmentation of its own."""
    cloud = batch.now.views[view]
    rotation = torch.eye(4)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    rotation[:3, :3] = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, scale]])
    cloud.points = torch.cat([cloud.points[:, :3] @ rotation[:3, :3].T, cloud.points[:, 3:]], dim=1)
    cloud.lidar_SE3 = rotation.expand(cloud.size, 4, 4)


def test_is_nce_and_swapped_assignment_of_the_same_balls_in_both_views() -> None:
    """With more room than points every matched point is a centre, and its ball holds all within 4 m."""
    batch, setup = make_batch(points=25), Setup(num_neighbours=25, assignment=0.5, num_prototypes=9)
    loaded = batch.now.views["a"].points[:, :3].clone()
    turn(batch, "a", 1.0, 0.7)
    turn(batch, "b", -0.5, 1.3)
    result = setup(batch)
    views, sample = batch.now.views, batch.now.row_batch
    matched = views["b"].row
    features = {"a": [], "b": []}
    for row in matched.tolist():
        apart = (loaded[matched] - loaded[row]).norm(dim=1)
        assert (apart - 4).abs().min() > 1e-5, "rounding decides nothing"
        near = [
            other
            for other in matched.tolist()
            if sample[other] == sample[row] and (loaded[other] - loaded[row]).norm() <= 4
        ]
        for name, view in views.items():
            index = view.index_of_row(batch.now.num_points)
            encoded, xyz = setup.lidar.linear(view.points), view.points[:, :3]
            pooled = setup.objective.encoder(
                encoded[index[row]][None],
                encoded[index[near]][None],
                (xyz[index[row]] - xyz[index[near]])[None],
                torch.ones(1, len(near), dtype=torch.bool),
            )
            features[name].append(F.normalize(setup.objective.projector(pooled), dim=1))
    a, b = (torch.cat(features[name]) for name in ("a", "b"))
    # Order matters to neither term.
    torch.testing.assert_close(result["nce"], info_nce(a, b, 0.1), rtol=1e-4, atol=1e-4)
    prototypes = F.normalize(setup.objective.prototypes, dim=1)
    torch.testing.assert_close(result["swav"], swapped_assignment(a, b, prototypes), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(result["loss"], result["nce"] + 0.5 * result["swav"])
    assert result["proposals"] == len(matched)
    assert result["point_share"].item() == pytest.approx(len(matched) / batch.now.num_points)


def test_attention_is_its_equation_and_sees_only_points_that_are_there() -> None:
    torch.manual_seed(0)
    encoder = ProposalEncoder(8, reduction=2)
    x, y, offsets = torch.randn(1, 8), torch.randn(1, 5, 8), torch.randn(1, 5, 3)
    present = torch.tensor([[True, True, False, True, False]])
    scores, answers = [], []
    for k in (0, 1, 3):
        e = encoder.position(offsets[0, k])
        scores.append(encoder.attention(encoder.query(x[0]) - encoder.key(y[0, k]) + e).exp())
        answers.append(encoder.value(y[0, k]) + e)
    pooled = sum(s * v for s, v in zip(scores, answers, strict=True)) / sum(scores)
    torch.testing.assert_close(encoder(x, y, offsets, present)[0], x[0] + encoder.out(pooled))


def test_draws_the_proposals_asked_for_from_the_candidates_asked_for() -> None:
    batch = make_batch(points=100)
    for options, proposals in (
        ({"num_proposals": 30}, 60),
        ({"num_proposals": 30, "candidates": 20}, 40),
        ({"num_proposals": 30, "candidates": 500}, 60),
    ):
        assert Setup(**options)(batch)["proposals"] == proposals
    # Members come from all points, not from the candidates alone.
    assert Setup(candidates=20)(batch)["point_share"] > 60 / 200


def test_centres_lie_far_from_each_other() -> None:
    batch, setup = make_batch(size=1, points=300), Setup(num_proposals=20)
    encodings = Encodings(batch, setup.lidar)
    index = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    centres, _ = setup.objective._proposals(encodings, index)
    xyz = batch.now.views["a"].points[index, :3]
    assert float(torch.pdist(xyz[centres]).min()) > 2 * float(torch.pdist(xyz[:20]).min())


def test_gathered_proposals_are_more_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, setup = make_batch(), Setup(gather=True)
    alone = setup(batch)["nce"].item()
    monkeypatch.setattr("pc3d.objectives.proposal_contrast.rows_of_other_ranks", lambda rows: rows)
    assert setup(batch)["nce"].item() == pytest.approx(alone + math.log(2), abs=1e-5)


def test_every_parameter_learns() -> None:
    batch, setup = make_batch(), Setup()
    setup(batch)["loss"].backward()
    assert all(bool((p.grad != 0).any()) for p in setup.objective.parameters())
    assert bool((setup.lidar.linear.weight.grad != 0).any())
