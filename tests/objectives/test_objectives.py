"""Objectives: pooling against plain loops, shared passes, options and degenerate batches."""

from __future__ import annotations

from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_fixtures import TinyCamera, TinyImage, TinyLidar, make_batch

from pc3d.contrast.nce import info_nce
from pc3d.contrast.point_region import plrc, rapc
from pc3d.data.batch import Batch, Needs
from pc3d.data.frame_types import NOT_LOOKED_AT
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.fac import FAC
from pc3d.objectives.groups import pool_pixels, pool_points, superpixel_groups
from pc3d.objectives.prc import PRC
from pc3d.objectives.registry import OBJECTIVES, build_objective
from pc3d.objectives.superpixel import SuperpixelContrast


def encode(batch, lidar=None, image=None, camera=None) -> Encodings:
    return Encodings(batch, lidar or TinyLidar(), image or TinyImage(), camera)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), segments=st.integers(1, 9), stride=st.integers(1, 3))
def test_superpixel_pools_are_plain_means(seed: int, segments: int, stride: int) -> None:
    frame = make_batch(seed, segments=segments).now
    usable = torch.rand(frame.num_points, generator=torch.Generator().manual_seed(seed)) < 0.8
    groups = superpixel_groups(frame, usable, stride)
    features = torch.randn(frame.num_points, 3, dtype=torch.float64)
    maps = torch.randn(4, 3, 12, 20, dtype=torch.float64)

    pixels = defaultdict(list)
    flat = frame.superpixels.flatten(0, 1)
    for camera in range(4):
        for line in range(stride // 2, 12, stride):
            for column in range(stride // 2, 20, stride):
                pixels[camera, int(flat[camera, line, column])].append((line, column))
    members = defaultdict(list)
    for row, camera, (u, v) in zip(frame.pairs.row, frame.pairs.camera, frame.pairs.uv, strict=True):
        key = (int(camera), int(flat[camera, int(v), int(u)]))
        if usable[row] and key[1] >= 0 and key in pixels:
            members[key].append(int(row))

    expected = torch.stack([features[members[key]].mean(0) for key in sorted(members)])
    pooled = pool_points(features, groups, torch.arange(frame.num_points))
    torch.testing.assert_close(pooled, expected)
    if stride == 1:
        unit = F.normalize(maps, dim=1)
        plain = [torch.stack([unit[c, :, y, x] for y, x in pixels[c, s]]).mean(0) for c, s in sorted(members)]
        torch.testing.assert_close(pool_pixels(maps, groups), torch.stack(plain))


def test_superpixel_contrast_is_nce_of_the_pools() -> None:
    batch, lidar, image = make_batch(), TinyLidar(), TinyImage()
    objective = SuperpixelContrast(lidar, image, dim=8)
    loss = objective(encode(batch, lidar, image))["loss"]
    frame = batch.now
    groups = superpixel_groups(frame, torch.ones(frame.num_points, dtype=torch.bool))
    q = F.normalize(objective.heads.point_head(lidar(frame.views["a"]).points), dim=1)
    k = objective.heads.pixel_head(image(frame.images.flatten(0, 1)))
    expected = info_nce(pool_points(q, groups, torch.arange(frame.num_points)), pool_pixels(k, groups), 0.07)
    torch.testing.assert_close(loss, expected)


def test_prc_is_the_mean_over_sweeps_of_its_two_terms() -> None:
    """With more room than points, every point that both views hold takes part."""
    batch, lidar = make_batch(), TinyLidar()
    objective = PRC(lidar, num_region_points=500, num_background_points=500, alpha=0.3)
    result = objective(encode(batch, lidar))
    frame, view = batch.now, batch.now.views["b"]
    grid = lidar.grid
    normalised = torch.stack(
        [(view.points[:, 0] - grid.x_min) / 10 - 1, (view.points[:, 1] - grid.y_min) / 10 - 1], dim=1
    )
    sampled = F.grid_sample(lidar.map[None], normalised[None, None], align_corners=False)[0, :, 0].T
    inside = (view.points[:, :2].abs() < 9.5).all(1)  # where border rules cannot matter
    assert inside.float().mean() > 0.9
    features = F.normalize(objective.projector(sampled), dim=1)
    expected = torch.zeros(())
    for b in range(2):
        of = view.batch == b
        regions = frame.regions[view.row[of]]
        f = features[of]
        expected = expected + 0.3 * plrc(f, f, regions) + 0.7 * rapc(f, f, regions)
    torch.testing.assert_close(result["loss"], expected / 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [PRC, FAC])
def test_points_that_nobody_looked_at_are_no_background(kind: type[PRC] | type[FAC]) -> None:
    batch, lidar = make_batch(), TinyLidar()
    frame = batch.now
    assert frame.regions is not None
    unseen = (frame.regions < 0) & (torch.arange(frame.num_points) % 2 == 0)
    frame.regions[unseen] = NOT_LOOKED_AT
    objective, encodings = kind(lidar), Encodings(batch, lidar)
    if isinstance(objective, PRC):
        rows = objective._sample_rows(frame, encodings)
    else:
        rows = objective._sample(frame, torch.ones_like(unseen), encodings.generator)
    assert not unseen[rows].any()
    assert (frame.regions[rows] == -1).any()
    assert objective(encodings)["loss"].isfinite()


def test_prc_samples_without_repeats_and_at_most_what_is_asked() -> None:
    batch = make_batch(points=200)
    objective = PRC(TinyLidar(), num_region_points=20, num_background_points=7)
    rows = objective._sample_rows(batch.now, encode(batch))
    assert len(rows.unique()) == len(rows) == 2 * 27
    of_region = batch.now.regions[rows] >= 0
    assert int(of_region.sum()) == 40
    assert torch.isin(rows, batch.now.views["b"].row).all()


def test_prc_across_the_batch_adds_the_other_sweeps_as_negatives() -> None:
    batch, lidar = make_batch(), TinyLidar()
    torch.manual_seed(0)
    alone = PRC(lidar, 500, 500)
    together = PRC(lidar, 500, 500, across_batch=True)
    together.load_state_dict(alone.state_dict())
    a, b = (o(encode(batch, lidar)) for o in (alone, together))
    assert float(b["plrc"]) > float(a["plrc"]) + 0.1


def test_joint_objectives_share_every_pass() -> None:
    batch, lidar, image = make_batch(), TinyLidar(), TinyImage()
    encodings = encode(batch, lidar, image)
    for objective in (PRC(lidar), SuperpixelContrast(lidar, image)):
        assert torch.isfinite(objective(encodings)["loss"])
    assert (lidar.calls, image.calls) == (2, 1)
    assert set(encodings.passes.values()) == {1}


def spoil_batch(batch: Batch, lidar: TinyLidar, spoil: str) -> None:
    """Take away what objectives pair, in frame "t"."""
    frame = batch.now
    if spoil in ("no_region", "one_region"):
        frame.regions = torch.full_like(frame.regions, -1 if spoil == "no_region" else 0)
    elif spoil == "no_pair":
        for name in ("row", "camera", "uv"):
            setattr(frame.pairs, name, getattr(frame.pairs, name)[:0])
    elif spoil == "no_segment":
        for name in ("superpixels", "semantics", "supervoxels", "tracks"):
            setattr(frame, name, torch.full_like(getattr(frame, name), -1))
    elif spoil == "no_feature":
        lidar.register_forward_hook(lambda _, args, output: output.valid.__setitem__(slice(None), False))
    elif spoil == "no_camera":
        frame.images, frame.camera_mask = torch.zeros_like(frame.images), frame.camera_mask & False
    else:
        count = {"empty_view": 0, "one_point": 1}[spoil]
        for view in frame.views.values():
            view.points, view.batch, view.row = view.points[:count], view.batch[:count], view.row[:count]
        for scales in frame.occupancy.values():
            for queries in scales.values():
                queries.cell = queries.cell[:count]


SPOILS = "no_region one_region no_pair no_segment no_feature no_camera empty_view one_point"


@pytest.mark.parametrize("spoil", SPOILS.split())
@pytest.mark.parametrize("kind", sorted(OBJECTIVES))
def test_degenerate_batches_give_a_finite_loss_with_a_gradient(kind: str, spoil: str) -> None:
    batch, lidar, image = make_batch(), TinyLidar(), TinyImage()
    spoil_batch(batch, lidar, spoil)
    camera = TinyCamera(image)
    objective = build_objective({"type": kind}, lidar, image, camera)
    loss = objective(encode(batch, lidar, image, camera))["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    for parameter in objective.parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("kind", sorted(OBJECTIVES))
def test_half_precision_encoders_give_nearly_the_same_float32_loss(kind: str) -> None:
    torch.manual_seed(0)
    batch, lidar, image = make_batch(), TinyLidar(), TinyImage()
    camera = TinyCamera(image)
    objective = build_objective({"type": kind}, lidar, image, camera).eval()
    exact = objective(encode(batch, lidar, image, camera))["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = objective(encode(batch, lidar, image, camera))["loss"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, rtol=0.05, atol=0.05)


def test_configs_with_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown objective type 'PCR'; known: .*PRC"):
        build_objective({"type": "PCR"}, TinyLidar())
    with pytest.raises(ValueError, match="no argument temprature"):
        build_objective({"type": "PRC", "temprature": 0.1}, TinyLidar())
    with pytest.raises(ValueError, match="needs an encoder of images: set `image`"):
        build_objective({"type": "SuperpixelContrast"}, TinyLidar())
    batch = make_batch()
    batch.now.regions = None
    with pytest.raises(ValueError, match="pc3d regions"):
        PRC(TinyLidar())(encode(batch))


def test_needs_join() -> None:
    assert PRC.needs | SuperpixelContrast.needs == Needs(views=2, images=True, superpixels=True, regions=True)
