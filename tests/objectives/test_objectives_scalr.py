"""ScaLR against a direct composition, and what its options change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import IMAGE, TinyImage, TinyLidar, make_batch
from torch import Tensor, nn

from pc3d.models.image.common import LevelImageEncoder
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.scalr import ScaLR


def test_is_the_mean_distance_to_the_teachers_pixels() -> None:
    batch, lidar, image = make_batch(), TinyLidar(), TinyImage()
    objective = ScaLR(lidar, image)
    result = objective(Encodings(batch, lidar, image))
    frame = batch.now
    maps = image(frame.images.flatten(0, 1))
    points = F.normalize(objective.head(lidar(frame.views["a"]).points), dim=1)
    total = 0.0
    for row, camera, uv in zip(frame.pairs.row, frame.pairs.camera, frame.pairs.uv, strict=True):
        place = uv / torch.tensor([IMAGE[1], IMAGE[0]]) * 2 - 1
        pixel = F.grid_sample(maps[None, camera], place[None, None, None], "bilinear", "border", False)
        pixel = pixel.flatten()
        total += (points[row] - pixel / pixel.norm()).norm().item()
    assert result["loss"].item() == pytest.approx(total / len(frame.pairs.row), rel=1e-5)


def test_the_teacher_never_learns() -> None:
    batch, lidar, image = make_batch(), TinyLidar(), TinyImage()
    ScaLR(lidar, image)(Encodings(batch, lidar, image))["loss"].backward()
    assert all(p.grad is None for p in image.parameters())
    assert bool((lidar.linear.weight.grad != 0).any())


def test_takes_all_pairs_or_as_many_as_asked() -> None:
    batch, lidar, image = make_batch(points=100), TinyLidar(), TinyImage()
    seen = len(batch.now.pairs.row.unique()) / batch.now.num_points
    for num_pairs, low, high in ((None, seen, seen), (30, 20 / 200, 30 / 200)):
        share = ScaLR(lidar, image, num_pairs)(Encodings(batch, lidar, image))["point_share"].item()
        assert low - 1e-6 <= share <= high + 1e-6


class TwoLevels(LevelImageEncoder):
    """Two strided convolutions of different widths."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 5, 2, stride=2), nn.Conv2d(3, 7, 4, stride=4)
        self.set_levels([5, 7], [2, 4])
        self.freeze(True)
        self.calls = 0

    def _maps(self, images: Tensor) -> list[Tensor]:
        self.calls += 1
        return [self.fine(images), self.coarse(images)]


def plain_distance(s: Tensor, t: Tensor, distance: str) -> float:
    x, y = s.detach().double().numpy(), t.detach().double().numpy()
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    return float(np.linalg.norm(x - y) if distance == "l2" else 1 - x @ y)


def read_at(level: Tensor, uv: Tensor) -> Tensor:
    place = uv / torch.tensor([IMAGE[1], IMAGE[0]]) * 2 - 1
    return F.grid_sample(level[None], place[None, None, None], "bilinear", "border", False).flatten()


@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize("layers", [(-1,), (-2, -1)])
def test_each_layer_has_its_head_and_is_read_at_its_own_resolution(
    layers: tuple[int, ...], distance: Any
) -> None:
    batch, lidar, image = make_batch(points=20), TinyLidar(), TwoLevels()
    objective = ScaLR(lidar, image, head="mlp", hidden=9, layers=layers, distance=distance)
    result = objective(Encodings(batch, lidar, image))
    pairs, features = batch.now.pairs, lidar(batch.now.views["a"]).points
    levels = image.pyramid(batch.now.images.flatten(0, 1))
    total = []
    for head, layer in zip(objective.heads, layers, strict=True):
        first, _, second = head
        assert (first.out_features, second.out_features) == (9, levels[layer].shape[1])
        for row, camera, uv in zip(pairs.row, pairs.camera, pairs.uv, strict=True):
            mapped = second(0.5 * (x := first(features[row])) * (1 + torch.erf(x / 2**0.5)))  # GELU
            total.append(plain_distance(mapped, read_at(levels[layer][camera], uv), distance))
    assert result["loss"].item() == pytest.approx(np.mean(total), rel=1e-4)
    assert ("layer-2" in result) == (len(layers) == 2)


def test_the_teachers_channels_are_standardised_over_the_pairs() -> None:
    batch, lidar, image = make_batch(points=20), TinyLidar(), TwoLevels()
    objective = ScaLR(lidar, image, layers=(-2, -1), standardise=True)
    result = objective(Encodings(batch, lidar, image))
    pairs, features = batch.now.pairs, lidar(batch.now.views["a"]).points
    total = []
    for head, level in zip(objective.heads, image.pyramid(batch.now.images.flatten(0, 1)), strict=True):
        read = [read_at(level[camera], uv) for camera, uv in zip(pairs.camera, pairs.uv, strict=True)]
        x = torch.stack(read).detach().double()
        x = (x - x.mean(dim=0)) / (x.var(dim=0, unbiased=False) + 1e-5).sqrt()
        ours = head(features[pairs.row])
        total.append(np.mean([plain_distance(s, t, "l2") for s, t in zip(ours, x, strict=True)]))
    assert result["loss"].item() == pytest.approx(np.mean(total), rel=1e-4)
    assert not [name for name, _ in objective.named_parameters() if "norm" in name]


def test_with_a_temperature_the_other_pairs_are_negatives() -> None:
    batch, lidar, image = make_batch(points=20), TinyLidar(), TwoLevels()
    objective = ScaLR(lidar, image, num_pairs=1000, layers=(-1,), temperature=0.2)
    result = objective(Encodings(batch, lidar, image))
    pairs = batch.now.pairs
    level = image.pyramid(batch.now.images.flatten(0, 1))[-1]
    read = [read_at(level[camera], uv) for camera, uv in zip(pairs.camera, pairs.uv, strict=True)]
    t = torch.stack(read).detach().double().numpy()
    s = objective.heads[0](lidar(batch.now.views["a"]).points[pairs.row]).detach().double().numpy()
    s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (s, t))
    logits = s @ t.T / 0.2
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))
    assert result["loss"].item() == pytest.approx(expected, rel=1e-4)
    for wrong in ({"num_pairs": None}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match="both must be positive"):
            ScaLR(lidar, image, **{"num_pairs": 9, "temperature": 0.1, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("standardise", [False, True])
def test_one_pair_has_a_finite_loss(standardise: bool) -> None:
    batch, lidar, image = make_batch(), TinyLidar(), TwoLevels()
    objective = ScaLR(lidar, image, num_pairs=1, layers=(-1,), standardise=standardise)
    loss = objective(Encodings(batch, lidar, image))["loss"]
    assert 0 < loss.item() <= 2


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_the_scene_is_pooled_points_against_pooled_maps_of_the_cameras_that_are_there(pool: Any) -> None:
    batch, lidar, image = make_batch(points=20, size=3), TinyLidar(), TwoLevels()
    now = batch.now
    now.camera_mask = torch.tensor([[True, True], [True, False], [True, True]])
    kept = (now.pairs.camera != 3) & (
        now.pairs.camera < 4
    )  # a camera is missing; the last sample has no pair
    now.pairs.row, now.pairs.camera, now.pairs.uv = (
        now.pairs.row[kept],
        now.pairs.camera[kept],
        now.pairs.uv[kept],
    )
    options: dict[str, Any] = {"head": "mlp", "hidden": 9, "layers": (-1,), "scene_pool": pool}
    objective = ScaLR(lidar, image, scene_weight=0.5, **options)
    result = objective(Encodings(batch, lidar, image))
    mapped = objective.scene_head(lidar(now.views["a"]).points)
    maps = image.pyramid(now.images.flatten(0, 1))[-1]
    expected = []
    for sample in range(2):
        rows = [int(row) for row in now.pairs.row if now.row_batch[row] == sample]
        ours = torch.stack([mapped[row] for row in rows]).max(dim=0).values
        seen = [maps[2 * sample + v].flatten(1) for v in range(2) if now.camera_mask[sample, v]]
        cells = torch.cat(seen, dim=1)
        theirs = cells.max(dim=1).values if pool == "max" else cells.mean(dim=1)
        expected.append(plain_distance(ours, theirs, "l2"))
    assert result["scene"].item() == pytest.approx(np.mean(expected), rel=1e-4)
    assert result["scene_examples"].item() == 2
    assert result["loss"].item() == pytest.approx(
        result["pixels"].item() + 0.5 * result["scene"].item(), rel=1e-5
    )
    result["loss"].backward()
    gradients = [p.grad for p in objective.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) and bool((g != 0).any()) for g in gradients)


def test_map_and_levels_are_one_pass() -> None:
    batch, lidar, image = make_batch(), TinyLidar(), TwoLevels()
    encodings = Encodings(batch, lidar, image)
    levels, joined = encodings.pyramid(), encodings.image()
    assert image.calls == max(encodings.passes.values()) == 1
    assert [x.shape[1] for x in (*levels, joined)] == [5, 7, 12]
    torch.testing.assert_close(joined, image(batch.now.images.flatten(0, 1)), rtol=0, atol=0)
    one = Encodings(batch, lidar, TinyImage())
    assert one.pyramid()[0] is one.image()


def test_no_pair_at_all_is_zero_with_a_graph() -> None:
    batch, lidar, image = make_batch(), TinyLidar(), TwoLevels()
    pairs = batch.now.pairs
    pairs.row, pairs.camera, pairs.uv = pairs.row[:0], pairs.camera[:0], pairs.uv[:0]
    objective = ScaLR(lidar, image, layers=(-2, -1), scene_weight=1.0, distance="cosine")
    loss = objective(Encodings(batch, lidar, image))["loss"]
    loss.backward()
    assert loss.item() == 0
    assert all((p.grad == 0).all() for p in objective.parameters())


def test_layers_that_a_teacher_does_not_have_are_named() -> None:
    lidar = TinyLidar()
    with pytest.raises(ValueError, match=r"layers \(-2, -1\) of a teacher with 1 level: .*give it more"):
        ScaLR(lidar, TinyImage(), layers=(-2, -1))
    for layers in ((-3,), (0,), (-1, -1), ()):
        with pytest.raises(ValueError, match="of a teacher with 2 levels: expected some of -2, -1"):
            ScaLR(lidar, TwoLevels(), layers=layers)
    for wrong in ({"head": "conv"}, {"scene_pool": "sum"}, {"distance": "l1"}):
        with pytest.raises(ValueError, match=r"unknown (head|scene_pool|distance) .*; known: "):
            ScaLR(lidar, TwoLevels(), **wrong)  # type: ignore[arg-type]
