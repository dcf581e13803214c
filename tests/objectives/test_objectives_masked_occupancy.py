"""Masked neighbourhood occupancy: the decoder by a loop, what the encoder sees, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from objective_fixtures import TinyLidar, make_batch, mask
from torch import Tensor

from pc3d.contrast.occupancy import average_precision
from pc3d.data.batch import Batch
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.occupancy import OccupancySettings
from pc3d.models.heads.occupancy import NeighbourDecoder
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.lidar.base import LidarFeatures
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.masked_occupancy import MaskedOccupancy
from pc3d.objectives.registry import objective_type


def test_the_decoder_is_its_equation() -> None:
    torch.manual_seed(1)
    decoder = NeighbourDecoder(3, hidden=5)
    features, places = torch.randn(4, 3), torch.randn(4, 3)
    centre, neighbours = torch.randn(3, 3), torch.tensor([[0, 2], [3, -1], [-1, -1]], dtype=torch.int32)
    known, out = decoder(features, places, centre, neighbours, 0.4)
    a, b = decoder.feature, decoder.way
    for q in range(3):
        h = torch.zeros(5)
        for j in neighbours[q].tolist():
            if j >= 0:
                h += (a.weight @ features[j] + a.bias + b.weight @ ((centre[q] - places[j]) / 0.4)).relu()
        wanted = (decoder.between.weight @ (h / 2) + decoder.between.bias).relu()
        torch.testing.assert_close(known[q], wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            out[q], decoder.out.weight @ wanted + decoder.out.bias, atol=1e-5, rtol=1e-5
        )


def test_what_is_taken_for_the_share_of_occupied_cells_at_first() -> None:
    decoder = NeighbourDecoder(3, prior=0.02)
    torch.nn.init.zeros_(decoder.out.weight)
    _, out = decoder(torch.randn(1, 3), torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 1).int(), 1.0)
    assert float(out[0, 0].detach().sigmoid()) == pytest.approx(0.02)


def step(batch: Batch, **arguments: float) -> tuple[dict[str, Tensor], Encodings, MaskedOccupancy]:
    torch.manual_seed(0)
    lidar = TinyLidar()
    model = MaskedOccupancy(lidar, **arguments)  # type: ignore[arg-type]
    encodings = Encodings(batch, lidar, want_bev=False)
    return model(encodings), encodings, model


def test_one_pass_of_the_masked_view_alone() -> None:
    """A second one with twins."""
    result, encodings, _ = step(make_batch(points=400))
    assert dict(encodings.passes) == {("lidar", "t", "m"): 1}
    assert 0.02 < float(result["visible_share"]) < 0.9
    assert float(result["loss"].detach()) == pytest.approx(
        float(result["occupancy"] + 0.1 * result["count"] + 0.1 * result["centroid"]), rel=1e-5
    )
    result, encodings, _ = step(make_batch(points=400), twin=0.5)
    assert dict(encodings.passes) == {("lidar", "t", "m"): 1, ("lidar", "t", "n"): 1}
    assert float(result["twin"]) > 0
    assert float(result["twin_examples"]) > 0


def test_the_loss_is_the_mean_over_scales() -> None:
    batch = make_batch(points=100)
    result, encodings, model = step(batch, count=0, centroid=0)
    assert float(result["examples"]) > 30
    asked, features = batch.now.occupancy["m"], encodings.lidar("m").points.double()  # type: ignore[index]
    xyz, total = batch.now.views["m"].points[:, :3].double(), 0.0
    for number, decoder in enumerate(model.decoders["m"]):  # type: ignore[arg-type]
        queries, losses, weights = asked[str(number)], 0.0, 0.0
        of_cell = [(queries.cell == cell).nonzero()[:, 0] for cell in range(queries.num_cells)]
        means, places = ([values[rows].mean(0) for rows in of_cell] for values in (features, xyz))
        for q in range(len(queries.weight)):
            h = torch.zeros(64, dtype=torch.float64)
            for j in queries.neighbours[q].tolist():
                if j >= 0:
                    way = (queries.centre[q].double() - places[j]) / queries.size
                    h = (
                        h
                        + (
                            means[j] @ decoder.feature.weight.T.double()
                            + decoder.feature.bias.double()
                            + way @ decoder.way.weight.T.double()
                        ).relu()
                    )
            h = h / queries.neighbours.shape[1]
            hidden = (h @ decoder.between.weight.T.double() + decoder.between.bias.double()).relu()
            logit = (hidden @ decoder.out.weight.T.double() + decoder.out.bias.double())[0]
            p = 1 / (1 + float((-logit.detach()).exp()))
            w = float(queries.weight[q])
            losses -= w * np.log(p if queries.occupied[q] else 1 - p)
            weights += w
        total += losses / max(weights, 1e-6) / 3
    assert float(result["loss"].detach()) == pytest.approx(total, rel=1e-4)


def test_what_the_encoder_does_not_reach_tells_nothing() -> None:
    """Cells without a feature are no neighbours, and queries among such alone do not count."""
    batch, lidar = make_batch(points=400), TinyLidar()
    model = MaskedOccupancy(lidar)

    class Near(TinyLidar):
        def forward(self, view, want_bev=True) -> LidarFeatures:  # type: ignore[no-untyped-def]
            output = lidar(view, want_bev)
            near = view.points[:, 0] > 0
            return LidarFeatures(output.points * near[:, None] + 1e6 * ~near[:, None], near, None)

    result = model(Encodings(batch, Near(), want_bev=False))
    assert float(result["loss"].detach()) < 10
    everything = model(Encodings(batch, lidar, want_bev=False))
    assert float(result["loss"].detach()) != float(everything["loss"].detach())
    result["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())  # type: ignore[union-attr]


def test_masked_points_do_not_enter() -> None:
    """What they reflect changes nothing at all; features and loss are the same bits."""
    losses = []
    for change in (0.0, 9.0):
        batch = make_batch(points=300)
        whole = batch.now.views["a"].points
        hidden = torch.ones(len(whole), dtype=torch.bool)
        hidden[batch.now.views["m"].row] = False
        whole[hidden, 3] += change
        result, encodings, _ = step(batch)
        losses.append((result["loss"].detach(), encodings.lidar("m").points.detach()))
    assert torch.equal(losses[0][0], losses[1][0])
    assert torch.equal(losses[0][1], losses[1][1])


def test_nothing_to_ask() -> None:
    """All is masked but a point: a loss of 0 with a graph, and no example."""
    batch = make_batch(points=1, size=2)
    for seed in range(50):
        mask(batch.now, OccupancySettings(kernel=3), seed)
        if len(batch.now.views["m"].row):
            break
    result, _, _ = step(batch)
    assert float(result["loss"].detach()) == 0
    assert float(result["examples"]) == 0
    result["loss"].backward()


def test_needs_follow_the_arguments() -> None:
    kind = objective_type({"type": "MaskedOccupancy"})
    assert kind.needs_of({}) == MaskedOccupancy.needs
    asked = kind.needs_of(
        {"type": "MaskedOccupancy", "cell": 0.1, "scales": 2, "kernel": 5, "twin": 0.5}
    ).occupancy
    assert asked is not None
    assert (asked.mask.cell, asked.mask.scales, asked.kernel, asked.masks) == (0.1, 2, 5, 2)
    with pytest.raises(ValueError, match="weights of 0 or more"):
        MaskedOccupancy(TinyLidar(), count=-1.0)
    batch = make_batch()
    batch.now.occupancy = None
    with pytest.raises(ValueError, match="have no masked views"):
        step(batch)


@pytest.mark.long
def test_a_hundred_steps_on_one_sweep_find_more_than_height_tells(tiny_index: Path) -> None:
    """Average precision of other masks' cells, above that of the share of occupied cells by height."""
    arguments = {"kernel": 5, "empties": 3, "occupied": 1024}
    needs = MaskedOccupancy.needs_of(arguments)
    data = FrameDataset(SweepIndex.open(tiny_index), needs, split="sim_train", config=FrameConfig())
    torch.manual_seed(0)
    lidar = build_lidar_encoder(
        {
            "type": "MinkUNet",
            "depth": 18,
            "widths": (8, 8, 16, 16, 16, 16, 16, 16),
            "stem": 8,
            "voxel_size": (0.2,) * 3,
        }
    )
    model = MaskedOccupancy(lidar, **arguments)
    optimizer = torch.optim.AdamW([*lidar.parameters(), *model.parameters()], lr=3e-3)
    for number in range(100):
        result = model(Encodings(collate([data[number, 0]]), lidar, want_bev=False, monitors=False))
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
    found = []
    with torch.no_grad():
        for number in range(1000, 1004):
            batch = collate([data[number, 0]])
            found.append(
                (float(model(Encodings(batch, lidar, want_bev=False))["average_precision"]), by_height(batch))
            )
    learned, height = np.mean(found, axis=0)
    assert learned > 1.5 * height, (learned, height)


def by_height(batch: Batch) -> float:
    """Mean over scales of the average precision of the share that is occupied at a height, in 0.2 m."""
    scores = []
    for queries in batch.now.occupancy["m"].values():  # type: ignore[union-attr]
        level = (queries.centre[:, 2] / 0.2).floor().long() + 200
        weight = queries.weight.double()
        taken = torch.zeros(400, dtype=torch.float64).index_add(0, level, weight * queries.occupied)
        share = taken / torch.zeros(400, dtype=torch.float64).index_add(0, level, weight).clamp(min=1)
        scores.append(float(average_precision(share[level], queries.occupied, queries.weight)))
    return float(np.mean(scores))
