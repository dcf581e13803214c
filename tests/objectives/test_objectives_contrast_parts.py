"""Every part of a contrast in every objective that takes one: it trains, or is refused with a reason."""

from __future__ import annotations

import re
from inspect import signature

import pytest
import torch
from engine_parts import PARTS, settings_of
from objective_fixtures import TinyCamera, TinyImage, TinyLidar, make_batch

from pc3d.contrast.policy import Part
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.registry import OBJECTIVES, build_objective, objective_type

TAKERS = sorted(name for name, kind in OBJECTIVES.items() if "contrast" in signature(kind).parameters)
REASONS = (
    "reads .* of the rows, and this objective knows",
    "exclude each other",
    "set renormalise=True",
    "compares the rows of both sides in both directions already",
)


def _config(objective: str, slot: str, name: str) -> dict[str, object]:
    config: dict[str, object] = {"type": objective, "contrast": settings_of(slot, name)}
    for option, value in (("renormalise", True), ("ids", "semantics")):
        if option in signature(OBJECTIVES[objective]).parameters:
            config[option] = value
    return config


def _step(
    config: dict[str, object], generator: int = 0
) -> tuple[Objective, TinyLidar, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    lidar, image = TinyLidar(), TinyImage()
    camera = TinyCamera(image)
    objective = build_objective(config, lidar, image, camera)
    source, batch = torch.Generator().manual_seed(0), make_batch(points=40, segments=3)
    for _ in range(2):  # the second step meets what the first one left
        lidar.zero_grad()
        bev = objective.reads_bev
        encodings = Encodings(batch, lidar, image, camera, want_bev=bev, generator=source)
        result = objective(encodings)
        result["loss"].backward()
        for part in objective.modules():
            if isinstance(part, Part):
                part.commit()
    return objective, lidar, result


@pytest.mark.parametrize("objective", TAKERS)
@pytest.mark.parametrize(("slot", "name"), PARTS)
def test_every_part_trains_every_objective_or_says_why_not(objective: str, slot: str, name: str) -> None:
    config = _config(objective, slot, name)
    refused = None
    try:
        model, lidar, result = _step(config)
    except ValueError as error:
        refused = str(error)
    if refused is not None:
        assert any(re.search(reason, refused) for reason in REASONS), refused
        return
    assert torch.isfinite(result["loss"])
    assert all(not value.requires_grad for key, value in result.items() if key != "loss")
    if objective != "RAD":  # whose LiDAR encoder is the teacher
        assert lidar.linear.weight.grad is not None or lidar.map.grad is not None
    again = _step(config)[0]
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("objective", TAKERS)
def test_an_unknown_part_is_named(objective: str) -> None:
    for contrast, message in (
        ({"negatives": [{"type": "Hrad"}]}, "did you mean 'Hard'"),
        ({"negatives": {"type": "Hard"}}, "is a list of parts"),
        ({"negative": []}, "did you mean 'negatives'"),
        ({"loss": {"type": "DCL", "sigm": 1}}, "no argument sigm"),
    ):
        with pytest.raises(ValueError, match=message):
            _step({"type": objective, "contrast": contrast})


def test_a_temperature_beside_a_similarity_is_refused() -> None:
    config = {"type": "PPKT", "temperature": 0.1, "contrast": {"similarity": {"type": "Learned"}}}
    with pytest.raises(ValueError, match=r"`temperature` and `contrast\.similarity`"):
        _step(config)


def test_without_settings_the_functions_stand_in() -> None:
    for objective in TAKERS:
        assert objective_type({"type": objective}).later["contrast"] is None
        torch.manual_seed(0)
        plain = _step({"type": objective})[2]["loss"]
        assert torch.equal(plain, _step({"type": objective, "contrast": {}})[2]["loss"])
