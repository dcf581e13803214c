"""Seal against a direct composition, and what its options change."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import TinyImage, TinyLidar, make_batch
from torch import Tensor

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
