"""Crops of a sweep: views "c", "d", ... that are parts of it, beside which nothing changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.batch import Batch, Needs, named_tensors
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.transforms import (
    CALICO_AUGMENTATION,
    PointAugmentation,
    PointFilter,
    ViewCrop,
    make_crop,
)

CONFIG = FrameConfig(
    image_size=(36, 80),
    image_flip=0.5,
    augmentation=(CALICO_AUGMENTATION, PointAugmentation(cuboid=0.2, crop=0.8)),
    points=PointFilter(max_points=300),
)
NEEDS = Needs(views=2, images=True, labels=True, frames=("t", "t-1"))


def batch_of(drive: SweepIndex, needs: Needs, config: FrameConfig = CONFIG, epoch: int = 1) -> Batch:
    data = FrameDataset(drive, needs, split="train", config=config, seed=3)
    return collate([data[epoch, position] for position in (0, 4)])


def test_crops_change_nothing_else_and_are_a_function_of_the_sample(drive: SweepIndex) -> None:
    plain, cropped = batch_of(drive, NEEDS), batch_of(drive, replace(NEEDS, crops=2))
    assert list(cropped.now.views) == ["a", "b", "c", "d"]
    assert list(cropped.frames["t-1"].views) == ["a"]
    found = dict(named_tensors(cropped))
    assert all(torch.equal(value, found[name]) for name, value in named_tensors(plain))
    again = dict(named_tensors(batch_of(drive, replace(NEEDS, crops=2))))
    assert all(torch.equal(value, again[name]) for name, value in found.items())
    one = batch_of(drive, Needs(crops=1))
    assert list(one.now.views) == ["a", "c"]
    other = batch_of(drive, replace(NEEDS, crops=2), epoch=2)
    assert not torch.equal(other.now.views["c"].row, cropped.now.views["c"].row)


@pytest.mark.parametrize("shape", ["sector", "box"])
def test_a_crop_is_a_part_of_the_frame_moved_like_a_view(drive: SweepIndex, shape: str) -> None:
    config = replace(CONFIG, points=PointFilter(), view_crop=ViewCrop((0.3, 0.4), shape))  # type: ignore[arg-type]
    frame = batch_of(drive, Needs(crops=3), config).now
    everything = batch_of(drive, Needs(), FrameConfig()).now.views["a"].points
    for name in ("c", "d", "e"):
        view = frame.views[name]
        assert (view.row[1:] > view.row[:-1]).all()
        assert torch.equal(view.batch, frame.row_batch[view.row])
        assert all(0.3 * 400 - 1 <= n <= 0.4 * 400 + 1 for n in torch.bincount(view.batch).tolist())
        loaded = everything[view.row]
        moved = torch.einsum("pij,pj->pi", view.lidar_SE3[view.batch][:, :3, :3], loaded[:, :3])
        torch.testing.assert_close(view.points[:, :3], moved, atol=1e-4, rtol=1e-5)
        assert torch.equal(view.points[:, 3], loaded[:, 3])
    assert not torch.equal(frame.views["c"].lidar_SE3, frame.views["d"].lidar_SE3)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 60), seed=st.integers(0, 999))
def test_a_sector_is_contiguous_and_a_box_is_nearest(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 4)).astype(np.float32)
    rows = ViewCrop().rows(points, rng)
    assert len(rows) == 0 if count == 0 else max(1, 0.25 * count - 1) <= len(rows) <= max(1, 0.5 * count + 1)
    if len(rows):
        inside = np.isin(np.argsort(np.arctan2(points[:, 1], points[:, 0])), rows)
        assert (inside != np.roll(inside, 1)).sum() in (0, 2)  # one run around the circle
        box = ViewCrop(shape="box").rows(points, rng)
        x = points[:, :2].astype(np.float64)
        apart = np.abs(x[:, None] - x[None]).max(axis=2)
        out = np.setdiff1d(np.arange(count), box)
        assert any(apart[i, box].max() <= apart[i, out].min(initial=np.inf) for i in range(count))


def test_a_crop_has_the_range_and_the_most_points_of_a_view() -> None:
    points = np.random.default_rng(0).uniform(-40, 40, (500, 4)).astype(np.float32)
    kept = PointFilter((-20, -20, -50, 20, 20, 50), 25)
    view = make_crop(points, CALICO_AUGMENTATION, kept, ViewCrop((0.9, 0.9)), np.random.default_rng(0))
    assert len(view.row) == 25
    assert np.abs(points[view.row, :2]).max() < 20


def test_needs_are_joined_by_the_larger_number() -> None:
    assert (Needs(crops=2) | Needs(views=2)).crops == (Needs() | Needs(crops=2)).crops == 2
    assert Needs(crops=2).of_frame("t").crops == 2
    assert Needs(crops=2).of_frame("dense").crops == 0


def test_settings_that_are_none() -> None:
    with pytest.raises(ValueError, match="share is"):
        ViewCrop((0.6, 0.5))
    with pytest.raises(ValueError, match="expected 'sector' or 'box'"):
        ViewCrop(shape="round")  # type: ignore[arg-type]
