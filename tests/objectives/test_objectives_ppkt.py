"""PPKT against a direct composition, and what its options change."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import IMAGE, TinyImage, TinyLidar, make_batch
from torch import Tensor

from pc3d.contrast.nce import info_nce
from pc3d.data.batch import Batch
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.ppkt import PPKT


class Setup:
    def __init__(self, **options: object) -> None:
        torch.manual_seed(0)
        self.lidar, self.image = TinyLidar(), TinyImage()
        self.objective = PPKT(self.lidar, self.image, **options)  # type: ignore[arg-type]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        return self.objective(Encodings(batch, self.lidar, self.image))


def test_is_nce_of_points_and_bilinear_pixels() -> None:
    """Every pair takes part; the order in which they are drawn does not matter to the loss."""
    batch, setup = make_batch(), Setup(dim=8, temperature=0.2)
    result = setup(batch)
    frame = batch.now
    maps = setup.objective.pixel_head(setup.image(frame.images.flatten(0, 1)))
    place = frame.pairs.uv / torch.tensor([IMAGE[1], IMAGE[0]]) * 2 - 1
    pixels = torch.stack(
        [
            F.grid_sample(maps[c : c + 1], xy[None, None, None], "bilinear", "border", False)[0, :, 0, 0]
            for c, xy in zip(frame.pairs.camera, place, strict=True)
        ]
    )
    points = setup.objective.point_head(setup.lidar(frame.views["a"]).points)[frame.pairs.row]
    expected = info_nce(F.normalize(points, dim=1), F.normalize(pixels, dim=1), 0.2)
    torch.testing.assert_close(result["loss"], expected)
    assert float(result["point_share"]) == pytest.approx(len(frame.pairs.row.unique()) / frame.num_points)


def test_draws_as_many_pairs_as_asked_anew_for_each_step() -> None:
    batch, setup = make_batch(), Setup(num_pairs=20)
    losses = []
    for seed in (1, 1, 2):
        generator = torch.Generator().manual_seed(seed)
        encodings = Encodings(batch, setup.lidar, setup.image, generator=generator)
        losses.append(setup.objective(encodings)["loss"].item())
        assert 0 < float(setup.objective(encodings)["point_share"]) <= 20 / batch.now.num_points
    assert losses[0] == losses[1] != losses[2]


def test_points_that_the_view_or_the_encoder_dropped_take_no_part() -> None:
    batch, setup = make_batch(), Setup()
    batch.now.views["a"] = batch.now.views["b"]
    setup.lidar.register_forward_hook(lambda _, args, out: out.valid.__setitem__(slice(0, 30), False))
    kept = batch.now.views["a"].row[30:]
    taking_part = batch.now.pairs.row[torch.isin(batch.now.pairs.row, kept)].unique()
    assert float(setup(batch)["point_share"]) == pytest.approx(len(taking_part) / batch.now.num_points)


def test_gathered_pixels_are_more_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, setup = make_batch(), Setup(gather=True)
    alone = setup(batch)["loss"].item()
    assert alone == Setup()(batch)["loss"].item()
    monkeypatch.setattr("pc3d.objectives.ppkt.rows_of_other_ranks", lambda rows: rows.flip(0))
    assert setup(batch)["loss"].item() == pytest.approx(alone + math.log(2), abs=1e-5)
