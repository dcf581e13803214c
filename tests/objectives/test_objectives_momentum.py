"""Objectives with a momentum network: what follows, what is kept over steps, and what they have in common."""

from __future__ import annotations

import pytest
import torch
from objective_fixtures import TinyImage, TinyLidar, make_batch
from torch import Tensor, nn

from pc3d.contrast.policy import Part
from pc3d.models.following import Following
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.registry import build_objective

SMALL = {
    "BECLR": {"num_points": 30, "prototypes": 3, "rows": 120, "neighbours": 2, "keep": 60},
    "BagOfWords": {"words": 16, "new_words": 4, "sectors": 3},
    "PointPropagation": {"num_points": 20, "radius": 2.0},
    "SlotContrast": {"num_points": 30, "prototypes": 5},
    "TripleContrast": {"queue": 12, "parts": 3},
}
every = pytest.mark.parametrize("name", sorted(SMALL))


def built(name: str, **changes: object) -> tuple[Objective, TinyLidar, TinyImage]:
    torch.manual_seed(0)
    lidar, image = TinyLidar(), TinyImage()
    return build_objective({"type": name, **SMALL[name], **changes}, lidar, image), lidar, image


def commit(model: nn.Module) -> None:
    for part in model.modules():
        if isinstance(part, Part):
            part.commit()


def step(model: Objective, lidar: TinyLidar, image: TinyImage, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    batch = make_batch(seed, points=80, segments=4)
    return model(Encodings(batch, lidar, image, want_bev=False, generator=generator))


@every
def test_a_step_is_finite_counts_and_is_the_same_again(name: str) -> None:
    results = []
    for _ in range(2):
        model, lidar, image = built(name)
        for seed in range(4):
            result = step(model, lidar, image, seed)
            result["loss"].backward()
            commit(model)
        assert float(result["examples"]) > 0
        assert all(torch.isfinite(value) for key, value in result.items() if key != "batch_perplexity")
        results.append(result["loss"].detach())
    assert torch.equal(*results)


@every
def test_copies_follow_and_never_have_a_gradient(name: str) -> None:
    model, lidar, image = built(name)
    key = next(module for module in model.modules() if type(module).__name__ == "MomentumEncoder")
    before = key.network.linear.weight.clone()
    with torch.no_grad():
        lidar.linear.weight += 1.0
    for seed in range(3):
        step(model, lidar, image, seed)["loss"].backward()
        commit(model)
        assert all(parameter.grad is None for parameter in key.parameters())
    moved = key.network.linear.weight - before
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - 0.99**3))
    after = key.network.linear.weight.clone()
    model.eval()
    step(model, lidar, image)
    assert torch.equal(key.network.linear.weight, after)


@every
def test_state_goes_on_after_loading_and_stays_in_evaluation(name: str) -> None:
    model, lidar, image = built(name)
    for seed in range(4):
        step(model, lidar, image, seed)
        commit(model)
    again, _, _ = built(name)
    again.load_state_dict(model.state_dict())
    losses = []
    for one in (model, again):
        one.train()
        losses.append([float(step(one, lidar, image, seed)["loss"]) for seed in (5, 6)])
        commit(one)
    assert losses[0] == losses[1]
    model.eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    step(model, lidar, image, 7)
    commit(model)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@every
def test_wrong_settings_are_said(name: str) -> None:
    wrong = {
        "BECLR": {"pairs": "none", "spread": -1},
        "BagOfWords": {"sectors": 0},
        "PointPropagation": {"radius": -1},
        "SlotContrast": {"teacher": 0},
        "TripleContrast": {"alpha": 2},
    }
    with pytest.raises(ValueError, match="expected"):
        built(name, **wrong[name])


def test_two_momentum_encoders_of_a_step_do_not_meet() -> None:
    first, lidar, image = built("SlotContrast")
    second, _, _ = built("PointPropagation", momentum=0.5)
    encodings = Encodings(make_batch(points=60), lidar, image, want_bev=False)
    for model in (first, second):
        model(encodings)
    assert {network for network, _, _ in encodings.passes} == {"lidar", "key", "key2"}
    assert set(encodings.passes.values()) == {1}


def test_a_momentum_encoder_gives_its_map_where_it_is_asked() -> None:
    model, lidar, image = built("SlotContrast")
    key = model.momentum_points.key
    encodings = Encodings(make_batch(points=60), lidar, image, want_bev=False)
    assert encodings.lidar("b", key_encoder=key).bev is None
    bev = encodings.lidar("b", key_encoder=key, key_bev=True).bev
    assert bev is not None
    assert not bev.requires_grad


def test_following_is_a_moving_average() -> None:
    layer = nn.Linear(2, 2)
    copy = Following(layer, 0.9)
    with torch.no_grad():
        layer.weight += 1
    copy.update(layer)
    torch.testing.assert_close(copy.copy.weight, layer.weight - 0.9)
    assert not copy(torch.ones(1, 2)).requires_grad
    with pytest.raises(ValueError, match=r"0\.\.1"):
        Following(layer, 1.5)
