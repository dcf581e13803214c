"""SuperFlow's one loss of several views against the loss of means over ids."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from objective_fixtures import TinyImage, TinyLidar, make_batch
from torch import Tensor

from pc3d.contrast.list_losses import CACR, MVDHEL, ListLoss, MVInfoNCE
from pc3d.data.batch import Batch
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.registry import build_objective
from pc3d.objectives.superflow import SuperFlow
from pc3d.objectives.superflow_views import MultiView

ALL = MultiView.over
NOW = ("Q:t", "Q:dense", "K:t")


def build(batch: Batch, over: tuple[str, ...] | None = ALL, kind: str = "MVDHEL", **options: Any):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    lidar, image = TinyLidar(), TinyImage()
    multi_view = options.pop("multi_view", {"type": kind} if over is None else {"type": kind, "over": over})
    config = {"type": "SuperFlow", "dim": 4, "multi_view": multi_view, **options}
    return build_objective(config, lidar, image), Encodings(batch, lidar, image)


def means(objective: SuperFlow, encodings: Encodings, view: str) -> dict[int, Tensor]:
    side, frame = view.split(":")
    groups = objective.heads.groups(encodings, frame)
    pooled = objective.heads.superpoints if side == "Q" else objective.heads.superpixels
    return dict(zip(groups.ids.tolist(), pooled(encodings, frame, groups), strict=True))


@pytest.mark.parametrize(
    ("loss", "settings", "options"),
    [
        (MVDHEL(0.07), {"type": "MVDHEL"}, {}),
        (MVDHEL(0.2), {"type": "MVDHEL"}, {"temperature": 0.2}),
        (MVInfoNCE(0.5), {"type": "MVInfoNCE", "temperature": 0.5}, {}),
        (CACR(alpha=2.0), {"type": "CACR", "alpha": 2.0}, {"renormalise": True}),
        (CACR(cost="rbf", temperature=0.07), {"type": "CACR", "cost": "rbf"}, {"renormalise": True}),
    ],
)
@pytest.mark.parametrize("over", [ALL, NOW, ("K:t-1", "Q:t")])
def test_is_the_loss_of_what_all_views_share(
    loss: ListLoss, settings: dict[str, Any], options: dict[str, Any], over: tuple[str, ...]
) -> None:
    batch = make_batch(segments=4)
    batch.now.semantics[0][batch.now.semantics[0] == 2] = -1  # a class that other frames have
    objective, encodings = build(batch, multi_view={**settings, "over": over}, **options)
    result = objective(encodings)
    assert {frame for _, frame, _ in encodings.passes} == {name.split(":")[1] for name in over}
    found = [means(objective, encodings, name) for name in over]
    shared = sorted(set.intersection(*(set(mean) for mean in found)))
    assert 2 < len(shared) < len(means(objective, encodings, "Q:dense"))
    expected = loss.views([torch.stack([mean[key] for key in shared]) for mean in found])
    torch.testing.assert_close(result["loss"], expected, rtol=1e-5, atol=1e-6)
    assert result["examples"] == result["views_examples"] == len(shared)
    got = torch.autograd.grad(result["loss"], list(objective.parameters()), retain_graph=True)
    wanted = torch.autograd.grad(expected, list(objective.parameters()))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_movers_take_no_part_in_superpoints() -> None:
    batch = make_batch()
    batch.frames["t-1"].moving = batch.frames["dense"].moving = None
    objective, encodings = build(batch, mask_movers=True)
    still = {t: objective.heads.groups(encodings, t, batch.frames[t].moving) for t in ("t", "t+1")}
    found = [means(objective, encodings, name) for name in ALL]
    for place, time in ((0, "t"), (2, "t+1")):
        features = objective.heads.superpoints(encodings, time, still[time])
        found[place] = dict(zip(still[time].ids.tolist(), features, strict=True))
    shared = sorted(set.intersection(*(set(mean) for mean in found)))
    expected = MVDHEL().views([torch.stack([mean[key] for key in shared]) for mean in found])
    torch.testing.assert_close(objective(encodings)["loss"], expected, rtol=1e-5, atol=1e-6)
    plain, encodings = build(batch)
    assert not torch.allclose(plain(encodings)["loss"], expected)


def test_nothing_shared_is_a_loss_of_zero_with_gradients() -> None:
    batch = make_batch()
    batch.frames["t+1"].semantics[:] = -1
    objective, encodings = build(batch)
    result = objective(encodings)
    result["loss"].backward()
    assert result["loss"] == result["examples"] == result["views_examples"] == 0
    assert all(p.grad is not None and not p.grad.any() for p in objective.parameters())
    assert set(objective.terms) == {"views"}
    assert "all views" in objective.learns_from
    assert set(SuperFlow.terms) == {"d2s", "temporal", "cross"}


def test_ids_of_superpixels_serve_one_time() -> None:
    batch = make_batch()
    objective, encodings = build(batch, NOW, ids="superpixels")
    assert torch.isfinite(objective(encodings)["loss"])
    with pytest.raises(ValueError, match="without Q:t-1, Q:t\\+1"):
        build(batch, ALL, ids="superpixels")


def test_needs_are_the_frames_of_the_views() -> None:
    needs = SuperFlow.needs_of({"multi_view": {"type": "MVDHEL"}})
    assert needs == SuperFlow.needs
    needs = SuperFlow.needs_of({"multi_view": {"type": "MVDHEL", "over": NOW}, "mask_movers": True})
    assert needs.frames == ("t", "dense")
    assert needs.tracks
    assert not needs.neighbour_images
    for wrong in (3, "Q:t", {"type": "MVDHEL", "over": 3}, {"type": "MVDHEL", "over": ["t"]}):
        assert SuperFlow.needs_of({"multi_view": wrong}).images  # said where it is built


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal": 0.5}, "multi_view and temporal exclude each other: .* is 0.5"),
        ({"spatial": 0}, "multi_view and spatial exclude"),
        ({"d2s": 0}, "multi_view and d2s exclude"),
        ({"cross": 0}, "multi_view and cross exclude"),
        ({"d2s_form": "cosine"}, "multi_view and d2s_form exclude"),
        ({"contrast": {"loss": {"type": "DCL"}}}, "multi_view and contrast exclude"),
        ({"gather": True}, "multi_view and gather exclude"),
        ({"mask_same_class": True}, "multi_view and mask_same_class exclude"),
        ({"multi_view": {"type": "MVDHEL", "over": ("Q:t",)}}, "two or more views, each once"),
        ({"multi_view": {"type": "MVDHEL", "over": ("Q:t", "Q:t")}}, "two or more views, each once"),
        ({"multi_view": {"type": "MVDHEL", "over": ("Q:t", "K:dense")}}, "expected names of Q:t, "),
        ({"multi_view": {"type": "MVDHEL", "over": "Q:t"}}, "expected names of Q:t, "),
        ({"multi_view": ["MVDHEL"]}, "expected dict"),
        ({"multi_view": {"type": "MVDEHL"}}, "did you mean 'MVDHEL'"),
        ({"multi_view": {"type": "MVDHEL", "tau": 1}}, "no argument tau"),
        ({"multi_view": {"type": "CACR"}}, "CACR assumes rows of unit length.*set renormalise=True"),
        ({"multi_view": {"type": "CACR"}, "temperature": 0.1, "renormalise": True}, "temperature 0.1 and"),
        ({"multi_view": {"type": "CACR", "temperature": 0.1}, "renormalise": True}, "has no temperature"),
        ({"multi_view": {"type": "MVDHEL", "temperature": 0.1}, "temperature": 0.2}, "temperature 0.2 and"),
    ],
)
def test_settings_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(make_batch(), **options)
