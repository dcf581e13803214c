"""SwAV for points with crops, and the queue of ProposalContrast."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import TinyLidar, make_batch
from torch import Tensor, nn

from pc3d.contrast.policy import Part
from pc3d.contrast.swav import view_assignment
from pc3d.data.batch import Needs
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.proposal_contrast import ProposalContrast
from pc3d.objectives.registry import objective_type
from pc3d.objectives.view_assignment import ViewAssignment


def commit(model: nn.Module) -> None:
    for part in model.modules():
        if isinstance(part, Part):
            part.commit()


def step(model: Objective, lidar: TinyLidar, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return model(Encodings(make_batch(seed), lidar, want_bev=False, generator=generator))


def built(seed: int = 0, **more: object) -> tuple[ViewAssignment, TinyLidar]:
    torch.manual_seed(seed)
    lidar = TinyLidar()
    settings = {"num_prototypes": 7, "dim": 5, **more}
    return ViewAssignment(lidar, **settings), lidar  # type: ignore[arg-type]


def test_a_crop_predicts_the_codes_of_the_points_that_it_shows() -> None:
    model, lidar = built(num_points=500)
    result = step(model, lidar)
    frame = make_batch(0).now
    rows = frame.views["b"].row  # view "a" shows every point
    rows_of = {"a": rows, "b": rows} | {name: frame.views[name].row for name in ("c", "d")}
    place = torch.full((frame.num_points,), -1)
    place[rows] = torch.arange(len(rows))
    views, numbers = [], []
    for name, shown in rows_of.items():
        kept = shown[place[shown] >= 0]
        points = frame.views[name].points[frame.views[name].index_of_row(frame.num_points)[kept]]
        views.append(F.normalize(model.head(lidar.linear(points)), dim=1))
        numbers.append(place[kept])
    expected = view_assignment(views, model.prototypes.rows, numbers)
    torch.testing.assert_close(result["loss"], expected)
    assert float(result["examples"]) == len(rows)
    share = sum(len(n) for n in numbers[2:]) / 2 / len(rows)
    assert float(result["crop_share"]) == pytest.approx(share)
    assert float(result["rows_per_prototype"]) == pytest.approx(len(rows) / 7)
    assert 0 < float(result["prototype_share"]) <= 1


def test_passes_are_those_of_its_views() -> None:
    for crops, calls in ((0, 2), (2, 4)):
        model, lidar = built(crops=crops)
        step(model, lidar)
        assert lidar.calls == calls
        assert ViewAssignment.needs_of({"crops": crops}) == Needs(views=2, crops=crops)
    assert objective_type({"type": "ViewAssignment"}).needs_of({}).crops == 2


def test_a_crop_has_no_map_beside_an_objective_that_reads_one() -> None:
    lidar = TinyLidar()
    encodings = Encodings(make_batch(), lidar, want_bev=True)
    assert [encodings.lidar(view).bev is not None for view in "abcd"] == [True, True, False, False]


def test_it_learns() -> None:
    model, lidar = built()
    optimizer = torch.optim.AdamW([*model.parameters(), *lidar.parameters()], lr=1e-2)
    losses = []
    for _ in range(25):
        loss = step(model, lidar)["loss"]
        optimizer.zero_grad()
        loss.backward()
        commit(model)
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]
    assert int(model.prototypes.steps) == 25


def test_state_goes_on_after_loading_and_stays_in_evaluation() -> None:
    model, lidar = built(queue=60, freeze=1)
    assert float(step(model, lidar)["rows_per_prototype"]) < 120 / 7
    for seed in range(2):
        step(model, lidar, seed)["loss"].backward()
        commit(model)
    again, _ = built(queue=60, freeze=1)
    again.load_state_dict(model.state_dict())
    losses = [step(one, lidar, 3) for one in (model, again)]
    assert torch.equal(losses[0]["loss"], losses[1]["loss"])
    assert float(losses[0]["rows_per_prototype"]) > 150 / 7  # the queue is full
    commit(model)
    model.eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    step(model, lidar, 4)
    commit(model)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_frozen_prototypes_have_no_gradient() -> None:
    model, lidar = built(freeze=1)
    step(model, lidar)["loss"].backward()
    assert model.prototypes.rows.grad is None
    commit(model)
    step(model, lidar)["loss"].backward()
    assert model.prototypes.rows.grad is not None


def test_settings_that_are_none() -> None:
    for more in ({"crops": 9}, {"queue": -1}, {"rounds": 0}, {"temperature": 0.0}, {"freeze": -1}):
        with pytest.raises(ValueError, match="expected"):
            built(**more)


def test_a_queue_of_proposal_contrast_joins_its_balance() -> None:
    def make(queue: int) -> tuple[ProposalContrast, TinyLidar]:
        torch.manual_seed(0)
        lidar = TinyLidar(8)
        return ProposalContrast(lidar, radius=4.0, num_prototypes=9, queue=queue), lidar

    (plain, lidar), (queued, other) = make(0), make(100)
    assert not any("queue" in name for name in plain.state_dict())
    first = [step(plain, lidar)["swav"], step(queued, other)["swav"]]
    torch.testing.assert_close(*first)
    commit(queued)
    again = [step(plain, lidar, 1)["swav"], step(queued, other, 1)["swav"]]
    assert abs(float(again[0] - again[1])) > 1e-6
    assert ProposalContrast.later["queue"] == 0
    with pytest.raises(ValueError, match="queue is -1"):
        make(-1)
