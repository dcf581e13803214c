"""Seal against a direct composition, and what its options change."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import TinyImage, TinyLidar, make_batch
from torch import Tensor

from pc3d.contrast.losses import DCL
from pc3d.contrast.nce import info_nce
from pc3d.data.batch import Batch, Needs
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.seal import Seal
from pc3d.objectives.superpixel import SuperpixelContrast


class Setup:
    def __init__(self, **options: object) -> None:
        torch.manual_seed(0)
        self.lidar, self.image = TinyLidar(), TinyImage()
        self.objective = Seal(self.lidar, self.image, **options)  # type: ignore[arg-type]

    def encode(self, batch: Batch) -> Encodings:
        return Encodings(batch, self.lidar, self.image)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        return self.objective(self.encode(batch))


def means_of_tracks(setup: Setup, batch: Batch, name: str) -> dict[tuple[int, int], Tensor]:
    frame, view = batch.frames[name], batch.frames[name].views["a"]
    features = F.normalize(setup.objective.spatial.heads.point_head(setup.lidar.linear(view.points)), dim=1)
    members: dict[tuple[int, int], list[Tensor]] = {}
    for feature, row in zip(features, view.row, strict=True):
        if frame.tracks[row] >= 0:
            members.setdefault((int(frame.row_batch[row]), int(frame.tracks[row])), []).append(feature)
    return {key: torch.stack(rows).mean(dim=0) for key, rows in members.items()}


def test_is_slidr_and_nce_between_the_tracks_of_two_frames() -> None:
    batch, setup = make_batch(), Setup(temporal=0.5, temperature=0.2)
    batch.frames["t"].tracks[batch.frames["t"].tracks == 4] = 7  # 4 and 7 have no partner
    result = setup(batch)
    spatial = SuperpixelContrast(setup.lidar, setup.image, temperature=0.2)
    spatial.load_state_dict(setup.objective.spatial.state_dict())
    now, following = (means_of_tracks(setup, batch, name) for name in ("t", "t+1"))
    shared = sorted(now.keys() & following.keys())
    assert len(shared) == 8
    assert len(now) == len(following) == 10
    a, b = (torch.stack([means[key] for key in shared]) for means in (now, following))
    expected = spatial(setup.encode(batch))["loss"] + 0.5 * info_nce(a, b, 0.2)
    torch.testing.assert_close(result["loss"], expected)
    assert result["tracks"] == 8
    torch.testing.assert_close(result["temporal"], info_nce(a, b, 0.2))


def test_points_without_a_feature_belong_to_no_track() -> None:
    batch, setup = make_batch(), Setup()
    before = setup(batch)["temporal"]
    view = batch.frames["t+1"].views["a"]
    kept = torch.arange(len(view.row)) % 3 > 0
    view.points, view.batch, view.row = view.points[kept], view.batch[kept], view.row[kept]
    after = setup(batch)["temporal"]
    assert abs((before - after).item()) > 1e-4
    means = means_of_tracks(setup, batch, "t+1")
    following = torch.stack([means[key] for key in sorted(means)])
    now = means_of_tracks(setup, batch, "t")
    torch.testing.assert_close(after, info_nce(torch.stack([now[k] for k in sorted(now)]), following, 0.07))


def test_no_shared_track_leaves_the_spatial_term() -> None:
    batch, setup = make_batch(), Setup()
    batch.frames["t+1"].tracks += 100
    batch.frames["t+1"].tracks[batch.frames["t+1"].tracks < 100] = -1
    result = setup(batch)
    assert result["temporal"] == 0
    assert result["loss"] == result["spatial"] > 0


def test_gathered_segments_are_more_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, setup = make_batch(), Setup(gather=True)
    alone = setup(batch)
    monkeypatch.setattr("pc3d.objectives.seal.rows_of_other_ranks", lambda rows: rows)
    monkeypatch.setattr("pc3d.objectives.superpixel.rows_of_other_ranks", lambda rows: rows)
    doubled = setup(batch)
    for name in ("spatial", "temporal"):
        assert doubled[name].item() == pytest.approx(alone[name].item() + math.log(2), abs=1e-5)


def test_needs_what_its_ids_say_and_names_what_is_missing() -> None:
    assert Seal.needs_of({}) == Seal.needs
    expected = Needs(images=True, semantics=True, tracks=True, frames=("t", "t+1"))
    assert Seal.needs_of({"ids": "semantics"}) == expected
    assert not torch.equal(Setup(ids="semantics")(make_batch())["spatial"], Setup()(make_batch())["spatial"])
    batch = make_batch()
    batch.now.tracks = None
    with pytest.raises(ValueError, match="--kinds tracks"):
        Setup()(batch)


def test_both_terms_by_another_contrast() -> None:
    batch, setup = make_batch(), Setup(contrast={"loss": {"type": "DCL"}}, temporal=0.5)
    result = setup(batch)
    now, following = (means_of_tracks(setup, batch, name) for name in ("t", "t+1"))
    a, b = (torch.stack([means[key] for key in sorted(now)]) for means in (now, following))
    logits = a @ b.T / 0.07
    own = torch.eye(len(a), dtype=torch.bool)
    expected = (logits.masked_fill(own, -torch.inf).logsumexp(dim=1) - logits.diagonal()).mean()
    torch.testing.assert_close(result["temporal"], expected.detach())
    torch.testing.assert_close(result["loss"].detach(), result["spatial"] + 0.5 * result["temporal"])
    assert isinstance(setup.objective.spatial.contrast.loss, DCL)


def test_each_term_has_a_contrast_of_its_own() -> None:
    setup = Setup(contrast={"similarity": {"type": "Learned", "init": 0.2}})
    result = setup(make_batch())
    result["loss"].backward()
    assert {"spatial_temperature", "temporal_temperature"} == {key for key in result if "temperature" in key}
    one, other = setup.objective.spatial.contrast.similarity, setup.objective.contrast.similarity
    assert one.scale.grad != other.scale.grad
    assert not [name for name in Setup().objective.state_dict() if "contrast" in name]


def test_segments_have_unit_length_where_a_contrast_asks_for_it() -> None:
    batch, settings = make_batch(), {"regularizers": [{"type": "Uniformity"}]}
    with pytest.raises(ValueError, match="set renormalise=True"):
        Setup(contrast=settings)
    for setup, unit in (
        (Setup(contrast=settings, renormalise=True), True),
        (Setup(renormalise=True), False),
        (Setup(contrast={"loss": {"type": "DCL"}}), False),
    ):
        norms = setup.objective._segments(setup.encode(batch), "t")[1].norm(dim=1)
        assert torch.allclose(norms, torch.ones_like(norms)) == unit


def test_facts_of_tracks_are_seen_from_the_key_frame() -> None:
    batch, setup = make_batch(), Setup(contrast={"positives": [{"type": "Near"}]})
    world = batch.frames["t+1"].world_SE3_lidar.clone()
    world[:, 0, 3] = torch.tensor([3.0, -5.0])
    batch.frames["t+1"].world_SE3_lidar = world
    encodings = setup.encode(batch)
    ids = setup.objective._segments(encodings, "t")[0][1::2].clone()
    for name, shift in (("t", (0.0, 0.0)), ("t+1", (3.0, -5.0))):
        frame, facts = batch.frames[name], setup.objective._facts(encodings, name, ids)
        assert torch.equal(facts["ids"], ids)
        for n, (track, sample) in enumerate(zip(ids % 2**32, facts["sample"], strict=True)):
            members = (frame.tracks == track) & (frame.row_batch == sample)
            place = frame.views["a"].points[members, :3].mean(dim=0)
            place[0] += shift[int(sample)]
            torch.testing.assert_close(facts["xyz"][n], place)
    assert torch.isfinite(setup(batch)["loss"])


def test_labels_of_tracks_are_not_known() -> None:
    with pytest.raises(ValueError, match="Ordinal reads time of the rows, and this objective knows"):
        Setup(contrast={"negatives": [{"type": "Ordinal", "label": "time"}]})
    with pytest.raises(ValueError, match="SameCluster reads labels of the rows, and this objective knows"):
        Setup(contrast={"negatives": [{"type": "SameCluster"}]}, ids="semantics")
