"""ProposalContrast against a plain float64 form of its equations, and what its options change."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from objective_fixtures import TinyLidar, make_batch
from torch import Tensor, nn

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


def unit(rows: Tensor) -> Tensor:
    return rows / rows.square().sum(dim=1, keepdim=True).sqrt()


def normed(x: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Batch norm in training, written out."""
    spread = ((x - x.mean(dim=0)).square().mean(dim=0) + 1e-3).sqrt()
    return (x - x.mean(dim=0)) / spread * norm.weight + norm.bias


def loop_two_way(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Each row of both views against every other one."""
    rows = [*a, *b]
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(rows)):
        others = [k for k in range(len(rows)) if k != i]
        likeness = {k: (rows[i] @ rows[k] / temperature).exp() for k in others}
        total = total - (likeness[(i + len(a)) % len(rows)] / sum(likeness.values())).log()
    return total / len(rows)


def loop_assignment(a: Tensor, b: Tensor, prototypes: Tensor) -> Tensor:
    """The sum over both directions, as the authors' code has it: temperature 0.1, epsilon 0.03, 3 rounds."""
    total = torch.zeros((), dtype=torch.float64)
    for mine, other in ((a, b), (b, a)):
        q = (other.detach() @ prototypes.detach().T / 0.03).exp().T
        q = q / q.sum()
        for _ in range(3):
            q = q / q.sum(dim=1, keepdim=True) / len(q)
            q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
        codes = (q * q.shape[1]).T
        p = (mine @ prototypes.T / 0.1).exp()
        p = p / p.sum(dim=1, keepdim=True)
        total = total - (codes * p.log()).sum(dim=1).mean()
    return total


def plain_pooled(setup: Setup, batch: Batch, loaded: Tensor, view: str) -> Tensor:
    """(M, C) float64: each matched point's ball of 4 m, encoded one by one."""
    encoder, linear = (
        copy.deepcopy(setup.objective.encoder).double(),
        copy.deepcopy(setup.lidar.linear).double(),
    )
    cloud, sample = batch.now.views[view], batch.now.row_batch
    matched = batch.now.views["b"].row.tolist()
    index = cloud.index_of_row(batch.now.num_points)
    encoded, xyz = linear(cloud.points.double()), cloud.points[:, :3].double()
    pooled = []
    for row in matched:
        apart = (loaded[matched] - loaded[row]).norm(dim=1)
        assert (apart - 4).abs().min() > 1e-5, "rounding decides nothing"
        near = [k for k, d in zip(matched, apart, strict=True) if d <= 4 and sample[k] == sample[row]]
        present = torch.ones(1, len(near), dtype=torch.bool)
        offsets = (xyz[index[row]] - xyz[index[near]])[None]
        pooled.append(encoder(encoded[index[row]][None], encoded[index[near]][None], offsets, present))
    return torch.cat(pooled)


def test_is_the_authors_loss_of_the_same_balls_in_both_views() -> None:
    """In float64. With room for all points each is a centre, and its ball holds all within 4 m."""
    batch, setup = make_batch(points=25), Setup(num_neighbours=25, num_prototypes=9, hidden=12, dim=6)
    loaded = batch.now.views["a"].points[:, :3].clone()
    turn(batch, "a", 1.0, 0.7)
    turn(batch, "b", -0.5, 1.3)
    pooled = torch.cat([plain_pooled(setup, batch, loaded, view) for view in ("a", "b")])
    result = setup(batch)
    objective = copy.deepcopy(setup.objective).double()
    shared = normed(pooled @ objective.shared[0].weight.T, objective.shared[1]).clamp(min=0)
    z = unit(normed(shared @ objective.instance[0].weight.T, objective.instance[1]))
    u = unit(shared @ objective.cluster.weight.T)
    nce = loop_two_way(*z.chunk(2), 0.1)
    assignment = loop_assignment(*u.chunk(2), unit(objective.prototypes))
    torch.testing.assert_close(result["nce"].double(), nce.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(result["loss"].double(), nce + 0.005 * assignment, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(result["swav"].double(), assignment.detach() / 2, rtol=1e-3, atol=1e-3)
    assert result["proposals"] == len(pooled) / 2
    assert result["point_share"].item() == pytest.approx(len(pooled) / 2 / batch.now.num_points)


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


def test_centres_lie_far_from_each_other_from_above() -> None:
    """Where all points stand above each other on a few poles, each pole is taken before any twice."""
    batch, setup = make_batch(size=1, points=300), Setup(num_proposals=20)
    cloud = batch.now.views["a"]
    cloud.points[:, :2] = cloud.points[:20, :2].repeat(15, 1)
    centres, _ = setup.objective._proposals(batch.now, torch.arange(300))
    assert len(cloud.points[centres, :2].unique(dim=0)) == len(cloud.points[:20, :2].unique(dim=0)) == 20


def test_gathered_proposals_are_more_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many again, in the place of each row and its twin: 4N - 1 candidates of the 2N - 1 alone."""
    batch, setup = make_batch(), Setup(gather=True)
    with torch.no_grad():  # all proposals alike: the loss counts the candidates
        setup.objective.instance[1].weight.zero_()
        setup.objective.instance[1].bias.fill_(1.0)
    rows = 2 * int(setup(batch)["proposals"])
    assert setup(batch)["nce"].item() == pytest.approx(math.log(rows - 1), abs=1e-4)
    monkeypatch.setattr("pc3d.objectives.proposal_contrast.rows_of_other_ranks", lambda rows: rows)
    assert setup(batch)["nce"].item() == pytest.approx(math.log(2 * rows - 1), abs=1e-4)


def test_views_without_a_common_point_give_zero_with_a_graph() -> None:
    batch, setup = make_batch(), Setup()
    view = batch.now.views["b"]
    view.points, view.batch, view.row = view.points[:0], view.batch[:0], view.row[:0]
    result = setup(batch)
    result["loss"].backward()
    assert result["loss"].item() == result["proposals"].item() == 0
    assert all(bool(buffer.isfinite().all()) for buffer in setup.objective.buffers())


def test_every_parameter_learns() -> None:
    batch, setup = make_batch(), Setup()
    setup(batch)["loss"].backward()
    assert all(bool((p.grad != 0).any()) for p in setup.objective.parameters())
    assert bool((setup.lidar.linear.weight.grad != 0).any())
