"""Options of the encoders that other stacks' networks need; by default everything is as it was."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from small_models import MINK, PILLARS
from torch import nn

from pc3d.engine.runs.settings import _built
from pc3d.models.lidar import LIDAR_ENCODERS, SECOND, MinkUNet, PointPillars, build_lidar_encoder
from pc3d.models.lidar.second import HEIGHT_LAYOUTS

ENCODERS = [MinkUNet, SECOND, PointPillars]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_came_later_is_no_word_of_an_older_contract(encoder: Any) -> None:
    defaults = {name: p.default for name, p in inspect.signature(encoder).parameters.items()}
    assert encoder.later == {name: defaults[name] for name in encoder.later}
    name = encoder.__name__
    assert not encoder.later.keys() & _built({"type": name}, LIDAR_ENCODERS).keys()
    changed = dict.fromkeys(encoder.later, "other")
    assert changed.items() <= _built({"type": name, **changed}, LIDAR_ENCODERS).items()


@pytest.mark.parametrize(
    "config", [MINK, PILLARS, {"type": "SECOND", "grid": PILLARS["grid"]}], ids=lambda c: c["type"]
)
def test_norms(config: dict[str, Any]) -> None:
    def settings(**options: float) -> set[tuple[float, float]]:
        with torch.device("meta"):
            encoder = build_lidar_encoder({**config, **options})
        kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
        return {(m.eps, m.momentum) for m in encoder.modules() if isinstance(m, kinds)}

    assert settings() == {(1e-5, 0.1)}
    assert settings(norm_eps=1e-3, norm_momentum=0.01) == {(1e-3, 0.01)}


def test_height_layouts() -> None:
    """Forty voxels along z: 40, 20, 10, 5, 2 with padding, 41, 21, 11, 5, 2 with OpenPCDet's empty layer."""
    common = {"z_range": (-3.0, 1.0), "voxel_height": 0.1}
    with torch.device("meta"):
        made = {layout: SECOND(**common, height_layout=layout) for layout in HEIGHT_LAYOUTS}
        residual, plain = SECOND(**common, blocks="residual"), SECOND(**common)
    assert {name: encoder._shape[0] for name, encoder in made.items()} == {"pc3d": 40, "openpcdet": 41}
    paddings = {name: encoder.levels[3][0].conv.padding for name, encoder in made.items()}
    assert paddings == {"pc3d": [1, 1, 1], "openpcdet": [0, 1, 1]}
    assert (residual.height_layout, plain.height_layout) == ("openpcdet", "pc3d")
    with pytest.raises(ValueError, match="unknown height_layout 'padded'; known: pc3d, openpcdet"):
        SECOND(height_layout="padded")


def test_where_a_unet_widens() -> None:
    with torch.device("meta"):
        state = build_lidar_encoder(
            {**MINK, "widths": [4, 6, 8, 10, 8, 8, 8, 8], "widen": "down"}
        ).state_dict()
    shapes = [tuple(state[f"down.{i}.conv.conv.weight"].shape) for i in range(4)]
    assert shapes == [(4, 2, 2, 2, 4), (6, 2, 2, 2, 4), (8, 2, 2, 2, 6), (10, 2, 2, 2, 8)]
    assert not any(name.startswith("down.") and "shortcut" in name for name in state)
    with pytest.raises(ValueError, match="unknown widen 'up'; known: blocks, down"):
        build_lidar_encoder({**MINK, "widen": "up"})


def test_z_minus_centre_changes_no_function() -> None:
    """With z among the columns, a weight on z minus centre is one on z and a constant before the norm."""
    with_z, without = (
        build_lidar_encoder({**PILLARS, "centre_z": centre}).eval() for centre in (True, False)
    )
    state = with_z.state_dict()
    centre = sum(with_z.inputs.grid.limits[2::3]) / 2
    weight = state["linear.weight"]
    extra = weight[:, -1]
    state["linear.weight"] = weight[:, :-1].clone()
    state["linear.weight"][:, 2] += extra
    state["norm.running_mean"] = state["norm.running_mean"] + centre * extra
    without.load_state_dict(state)
    from pc3d.data.batch import PointView

    points = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([40, 40, 7, 1.0])
    points -= torch.tensor([20, 20, 4.5, 0.0])
    rows = torch.arange(200)
    view = PointView(points, torch.zeros_like(rows), rows, torch.eye(4)[None], 1)
    with torch.no_grad():
        a, b = with_z(view).bev, without(view).bev
    assert a is not None
    assert a.abs().max() > 0.1
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
