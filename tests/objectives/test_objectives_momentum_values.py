"""Objectives with a momentum network against plain loops over points; the pace of their copies."""

from __future__ import annotations

import math
from typing import Any

import momentum_loops as loops
import pytest
import torch
import torch.nn.functional as F
from engine_cases import unit
from objective_fixtures import TinyImage, TinyLidar, make_batch
from torch import Tensor, nn

from pc3d.contrast.policy import Part
from pc3d.data.batch import Batch
from pc3d.models.following import Following
from pc3d.models.lidar.momentum import MomentumEncoder
from pc3d.objectives.bag_of_words import BagOfWords
from pc3d.objectives.beclr import BECLR
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.point_propagation import PointPropagation
from pc3d.objectives.registry import build_objective
from pc3d.objectives.slot_contrast import SlotContrast
from pc3d.objectives.triple_contrast import TripleContrast

BOTH = (("a", "b"), ("b", "a"))


def made(kind: type[Any], **arguments: Any) -> tuple[Any, TinyLidar, TinyImage]:
    """An objective in evaluation mode whose momentum copies are not its networks."""
    torch.manual_seed(0)
    lidar, image = TinyLidar(), TinyImage()
    model = build_objective({"type": kind.__name__, **arguments}, lidar, image).eval()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, (Following, MomentumEncoder)):
                for parameter in part.parameters():
                    parameter += 0.05 * torch.randn_like(parameter)
    return model, lidar, image


def cells(model: Any, lidar: TinyLidar, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Of all points that both views hold: projected, the same by the copies, and their rows; float64."""
    points, frame = model.momentum_points, batch.now
    index = {view: frame.views[view].index_of_row(frame.num_points) for view in "ab"}
    rows = ((index["a"] >= 0) & (index["b"] >= 0)).nonzero()[:, 0]
    student, teacher = (
        {view: head(encoder(frame.views[view]).points[index[view][rows]]).detach().double() for view in "ab"}
        for encoder, head in ((lidar, model.head), (points.key, points.key_head))
    )
    return student, teacher, rows


def test_point_propagation_is_its_equation() -> None:
    model, lidar, _ = made(PointPropagation, num_points=500, radius=3.0)
    batch = make_batch(points=30)
    student, teacher, rows = cells(model, lidar, batch)
    view = batch.now.views["a"]
    index = view.index_of_row(batch.now.num_points)[rows]
    loaded = torch.linalg.inv(view.lidar_SE3.double())[view.batch[index]]
    xyz = (loaded[:, :3, :3] @ view.points[index, :3, None].double())[..., 0] + loaded[:, :3, 3]
    transform, expected = model.transform.double(), 0.0
    for b in range(2):
        of = view.batch[index] == b
        near = torch.tensor([[float((p - q).norm()) <= 3.0 for q in xyz[of]] for p in xyz[of]])
        assert near.sum() > of.sum()
        for one, other in BOTH:
            x = student[one][of]
            smoothed = loops.propagated(x, transform(x).detach(), 2.0)
            expected += loops.agreement(smoothed, teacher[other][of], near) / 2
    loss = model.float()(Encodings(batch, lidar))["loss"]
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_slot_contrast_is_its_equation() -> None:
    model, lidar, _ = made(SlotContrast, num_points=500, prototypes=7)
    model.centre.mean += torch.linspace(-0.2, 0.2, 7)
    batch = make_batch(points=30)
    student, teacher, rows = cells(model, lidar, batch)
    sample = batch.now.row_batch[rows]
    prototypes, copies = (
        rows.detach().double() for rows in (model.prototypes.rows, model.key_prototypes.copy.rows)
    )
    group = slot = 0.0
    for one, other in BOTH:
        dots, theirs = loops.dots_of(student[one], prototypes), loops.dots_of(teacher[other], copies)
        group += loops.grouping(dots, theirs, model.centre.mean, 0.1, 0.07) / 2
        slots = loops.slots(student[one], prototypes, sample, 2, 0.07)
        keys = loops.slots(teacher[other], copies, sample, 2, 0.07)
        predicted = model.predictor(slots.float().flatten(0, 1)).view_as(slots).detach().double()
        mine, known = loops.best(dots, sample, 2), loops.best(theirs, sample, 2)
        slot += (
            loops.slot_contrast({key: predicted[key] for key in mine}, {key: keys[key] for key in known}, 0.2)
            / 2
        )
    result = model(Encodings(batch, lidar))
    assert float(result["group"]) == pytest.approx(group, rel=1e-4)
    assert float(result["slot"]) == pytest.approx(slot, rel=1e-4)
    assert float(result["loss"].detach()) == pytest.approx(0.5 * group + 0.5 * slot, rel=1e-4)
    assert (
        float(result["active_slots"])
        == len(loops.best(loops.dots_of(student["a"], prototypes), sample, 2)) / 2
    )


def test_the_predictor_sees_slots_that_are_active_in_both_views_alone() -> None:
    model, lidar, _ = made(SlotContrast, num_points=500, prototypes=30)
    seen = []
    model.predictor.register_forward_hook(lambda _, inputs, output: seen.append(len(inputs[0])))
    batch = make_batch(points=30)
    student, teacher, rows = cells(model, lidar, batch)
    sample = batch.now.row_batch[rows]
    model(Encodings(batch, lidar))
    rows_of = (model.prototypes.rows, model.key_prototypes.copy.rows)
    prototypes, copies = (rows.detach().double() for rows in rows_of)
    expected = [
        len(
            loops.best(loops.dots_of(student[one], prototypes), sample, 2)
            & loops.best(loops.dots_of(teacher[other], copies), sample, 2)
        )
        for one, other in BOTH
    ]
    assert seen == expected
    assert max(seen) < 60


def test_one_slot_for_all_cells_is_trained() -> None:
    model, lidar, _ = made(SlotContrast, num_points=500, prototypes=1)
    result = model.train()(Encodings(make_batch(points=30), lidar))
    result["loss"].backward()
    assert float(result["group"]) == 0
    assert float(result["largest_slot"]) == 1
    alone = model(Encodings(make_batch(size=1, points=30), lidar))["loss"]
    alone.backward()  # one slot in all: nothing to contrast it with, and no batch norm of one row
    assert alone.detach() == 0


def test_bag_of_words_is_its_equation() -> None:
    """With every point of a sector in the student's half, and a queue that is full."""
    model, lidar, _ = made(BagOfWords, words=6, sectors=3)
    batch = make_batch(points=30)
    model.train().words.queue.push(F.normalize(torch.randn(6, lidar.point_channels), dim=1))
    model.words.commit()
    model.eval()
    drawn = torch.rand
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda *size, **options: 0 * drawn(*size, **options))
        result = model(Encodings(batch, lidar))
    words = model.words.queue.rows().double()
    student, teacher = lidar(batch.now.views["a"]).points, model.key(batch.now.views["b"]).points
    generated = model.generator(F.normalize(words, dim=1).float()).detach().double()
    logits, bags = [], []
    for b in range(2):
        for sector in range(3):
            of = {}
            for name in "ab":
                view = batch.now.views[name]
                xyz = torch.linalg.inv(view.lidar_SE3.double())[view.batch]
                place = (xyz[:, :3, :3] @ view.points[:, :3, None].double())[..., 0] + xyz[:, :3, 3]
                turns = [math.atan2(y, x) / (2 * math.pi) + 0.5 for x, y in place[:, :2].tolist()]
                in_sector = torch.tensor([min(int(turn * 3), 2) == sector for turn in turns])
                of[name] = in_sector & (view.batch == b)
            whole = F.normalize(teacher[of["b"]].double(), dim=1)
            bags.append(loops.bag(whole, words, 15, 0.5)[0])
            pooled = student[of["a"]].detach().double().mean(dim=0)
            logits.append(8 * F.normalize(generated, dim=1) @ pooled)
    expected = loops.divergence(torch.stack(logits), torch.stack(bags))
    assert float(result["examples"]) == 6
    assert float(result["loss"].detach()) == pytest.approx(expected, rel=1e-4)


def test_triple_contrast_is_the_mean_of_its_terms() -> None:
    model, lidar, image = made(TripleContrast, queue=12, parts=2)
    result = model(Encodings(make_batch(points=80, segments=4), lidar, image))
    terms = 2 * result["across"] + result["within"] + result["local"]
    torch.testing.assert_close(result["loss"].detach(), terms / 4)


@pytest.mark.parametrize("pairs", ["ranks", "own"])
def test_beclr_is_its_equation(pairs: str) -> None:
    """With memories that are full, of which one cluster has no more rows than are looked up."""
    model, lidar, _ = made(BECLR, num_points=500, dim=8, prototypes=3, rows=12, neighbours=2, pairs=pairs)
    batch = make_batch(points=10)
    for seed, memory in enumerate(model.memories.values()):
        memory.train().see(unit(12, 8, seed).float())
        memory.commit()
        label = memory.queue.fact("label")
        memory.queue.label("label", torch.where(label == label[0], label, (label[0] + 1) % 3))
        memory.eval()
    student, teacher, rows = cells(model, lidar, batch)
    predicted = {view: model.predictor(student[view].float()).detach().double() for view in "ab"}
    sides = {}
    for kind, views in (("predictions", predicted), ("teachers", teacher), ("students", student)):
        for view in "ab":
            own = F.normalize(views[view], dim=1)
            if kind == "predictions" and pairs == "own":
                sides[kind, view] = [*own, *own, *own]
                continue
            memory = model.memories[kind]
            held, label = memory.queue.rows().double(), memory.queue.fact("label").tolist()
            near = [loops.neighbours(x, held, label, memory.prototypes.double(), 2) for x in own]
            sides[kind, view] = [*own, *(held[n[0]] for n in near), *(held[n[1]] for n in near)]
    count = 3 * len(rows)
    drawn = sum(
        loops.cosine(sides["predictions", one][i], sides["teachers", other][i])
        for one, other in BOTH
        for i in range(count)
    )
    spread = loops.spread(sides["students", "a"], sides["students", "b"], 2.0)
    result = model(Encodings(batch, lidar))
    assert float(result["compared_rows"]) == 2 * count
    expected = 0.1 * spread - drawn / count / 2
    assert float(result["loss"].detach()) == pytest.approx(expected, rel=1e-4)


def test_beclr_reads_its_memories_once_all_are_full() -> None:
    model, lidar, _ = made(BECLR, num_points=20, prototypes=3, rows=60, neighbours=2, keep=30)
    model.train()
    compared = []
    for seed in range(3):
        result = model(Encodings(make_batch(seed), lidar))
        result["loss"].backward()
        compared.append(float(result["compared_rows"]) / float(result["examples"]))
        for part in model.modules():
            if isinstance(part, Part):
                part.commit()
    assert compared == [2, 2, 6]
    assert len({int(memory.queue.seen) for memory in model.memories.values()}) == 1


def test_nothing_is_lost_before_there_are_enough_words() -> None:
    model, lidar, _ = made(BagOfWords, words=20, sectors=3, new_words=4)
    model.train()
    losses = []
    for seed in range(4):  # 8 words a step
        result = model(Encodings(make_batch(seed), lidar))
        result["loss"].backward()
        losses.append(float(result["loss"].detach()))
        for part in model.modules():
            if isinstance(part, Part):
                part.commit()
    assert losses[:3] == [0, 0, 0]
    assert losses[3] > 0
    with pytest.raises(ValueError, match="words 1"):
        made(BagOfWords, words=1)


def test_momentum_rises_by_a_cosine() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    copy = Following(layer, 0.9, steps=4)
    nn.init.ones_(layer.weight)
    rest = 1.0
    for step in range(6):
        if step == 2:  # a run that goes on
            state = copy.state_dict()
            copy = Following(layer, 0.9, steps=4)
            copy.load_state_dict(state)
        copy.update(layer)
        rest *= 1 - 0.1 * (1 + math.cos(math.pi * min(step / 4, 1))) / 2
        assert float(copy.copy.weight) == pytest.approx(1 - rest, abs=1e-6)
    with pytest.raises(ValueError, match="expected at least 1"):
        Following(layer, 0.9, steps=0)


@pytest.mark.parametrize("kind", [BECLR, BagOfWords, PointPropagation, SlotContrast, TripleContrast])
def test_all_copies_of_an_objective_rise_together(kind: type[Any]) -> None:
    model, lidar, image = made(kind, steps=1)
    model.train()
    for seed in range(2):
        model(Encodings(make_batch(seed, points=80, segments=4), lidar, image))
    paces = [part.pace for part in model.modules() if isinstance(part, (Following, MomentumEncoder))]
    assert {int(pace.done) for pace in paces} == {2}
    assert not any(hasattr(part.pace, "done") for part in [Following(nn.Linear(1, 1))])


def test_copies_have_batch_norm_of_their_own() -> None:
    layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    copy = Following(layers, 0.0)
    layers(torch.randn(8, 3) + 5)
    copy(torch.randn(8, 3) - 5)
    copy.update(layers)
    assert torch.equal(copy.copy[0].weight, layers[0].weight)
    assert not torch.allclose(copy.copy[1].running_mean, layers[1].running_mean, atol=0.1)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in copy.parameters())
