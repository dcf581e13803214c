"""Weights that a run starts from reach the momentum copies of its objectives."""

from __future__ import annotations

from pathlib import Path

import torch
from small_models import MINK

from pc3d.engine.initial_weights import load_initial
from pc3d.engine.pretrainer import Pretrainer
from pc3d.models.weights import save_backbone


def test_momentum_copies_start_from_the_weights_that_are_loaded(tmp_path: Path) -> None:
    first, second = (Pretrainer(dict(MINK), None, {"fac": {"type": "FAC"}}, seed=seed) for seed in (0, 1))
    save_backbone(first.lidar, tmp_path / "backbone.safetensors", {})
    load_initial({"lidar": str(tmp_path / "backbone.safetensors")}, second.parts, second.objectives)
    key = second.objectives["fac"].key.network.state_dict()
    assert key.keys() == first.lidar.state_dict().keys()
    assert all(torch.equal(value, key[name]) for name, value in first.lidar.state_dict().items())
