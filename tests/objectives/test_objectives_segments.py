"""PRC, RAD and FAC learn from the kind of segment that their setting names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from objective_fixtures import TinyCamera, TinyImage, TinyLidar, make_batch

from pc3d.data.batch import Batch
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.fac import FAC
from pc3d.objectives.prc import PRC
from pc3d.objectives.rad import RAD

KINDS = [PRC, RAD, FAC]


def loss(kind: type, batch: Batch, **settings: Any) -> float:
    torch.manual_seed(0)
    lidar, image = TinyLidar(), TinyImage()
    camera = TinyCamera(image)
    objective = kind(lidar, *([camera] if kind is RAD else []), **settings)
    return float(objective(Encodings(batch, lidar, image, camera))["loss"].detach())


@pytest.mark.parametrize("kind", KINDS)
def test_objects_take_the_place_of_clusters(kind: type) -> None:
    """With the ids in the other field the loss is the same, and what it was without the setting."""
    batch = make_batch()
    plain = loss(kind, batch)
    assert plain == loss(kind, batch, segments="clusters")
    assert abs(loss(kind, batch, segments="objects") - plain) > 1e-4
    batch.now.objects, batch.now.regions = batch.now.regions, None
    assert loss(kind, batch, segments="objects") == plain
    with pytest.raises(ValueError, match=r"needs .*run `pc3d regions`"):
        loss(kind, batch)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loader_makes_what_is_named(kind: Any) -> None:
    assert kind.needs_of({}) == kind.needs
    needs = kind.needs_of({"segments": "objects"})
    assert needs.ids == ("objects",)
    assert (needs.views, needs.images) == (kind.needs.views, kind.needs.images)
    with pytest.raises(ValueError, match="unknown segments 'boxes'; known: clusters, supervoxels, objects"):
        loss(kind, make_batch(), segments="boxes")
