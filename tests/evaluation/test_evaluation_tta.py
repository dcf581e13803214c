"""Test-time augmentation: the copies, their mean against plain loops, and wired into the evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.data.batch import Needs, PointView
from pc3d.data.dataset import FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.engine.finetuner import build_segmenter
from pc3d.evaluation.segmentation import evaluate_segmenter, predict_scans, summary_text
from pc3d.evaluation.test_time_augmentation import AugmentedCopies, copies_probabilities, moved_view
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures

LIDAR = {
    "type": "MinkUNet",
    "depth": 18,
    "widths": (4, 4, 8, 8, 8, 8, 8, 8),
    "stem": 4,
    "voxel_size": (0.5, 0.5, 0.5),
    "bev_channels": 8,
}
CLASSES = 5


class Pointwise(LidarEncoder):
    """Features of each point alone: its coordinates, or with `blind` what no turn or mirror changes."""

    point_channels = 4

    def __init__(self, reach: float = math.inf, blind: bool = False) -> None:
        super().__init__()
        self.reach, self.blind, self.passes = reach, blind, 0

    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        self.passes += 1
        x, y, z, intensity = view.points.T
        known = [x.square() + y.square(), x.abs() + y.abs()] if self.blind else [x, y]
        valid = torch.maximum(x.abs(), y.abs()) < self.reach
        features = torch.stack([*known, z, intensity], dim=1) * valid[:, None]
        return LidarFeatures(features, valid, None)


def pointwise(reach: float = math.inf, blind: bool = False) -> PointSegmenter:
    torch.manual_seed(0)
    return PointSegmenter(Pointwise(reach, blind), CLASSES).eval()


def view_of(points: Tensor) -> PointView:
    row = torch.arange(len(points))
    return PointView(points, torch.zeros_like(row), row, torch.eye(4)[None], 1)


def some_points(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)) * 3


def looped(segmenter: PointSegmenter, points: Tensor, config: AugmentedCopies) -> Tensor:
    """Every copy and every point by itself, in float64, from the words of the documentation."""
    weight, bias = segmenter.head.weight.double(), segmenter.head.bias.double()
    total, copies = torch.zeros(len(points), CLASSES, dtype=torch.float64), 0
    for scale in config.scales:
        for degrees in config.degrees:
            for flip in config.flips:
                if copies == config.count:
                    break
                copies += 1
                turn = math.radians(degrees)
                for p, (x, y, z, intensity) in enumerate(points.tolist()):
                    x, y = (-x if "x" in flip else x), (-y if "y" in flip else y)
                    x, y = math.cos(turn) * x - math.sin(turn) * y, math.sin(turn) * x + math.cos(turn) * y
                    seen = torch.tensor([scale * x, scale * y, scale * z, intensity], dtype=torch.float64)
                    total[p] += (weight @ seen + bias).softmax(dim=0)
    return total / copies


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 12),
    seed=st.integers(0, 1000),
    degrees=st.lists(st.floats(-360, 360), min_size=3, max_size=3),
    flips=st.permutations(["", "x", "y", "xy"]),
)
def test_the_mean_is_the_loops(count: int, seed: int, degrees: list[float], flips: list[str]) -> None:
    config = AugmentedCopies(count, tuple(flips), tuple(degrees), (1.0, 0.9))
    segmenter, points = pointwise(), some_points(7, seed)
    mean = copies_probabilities(segmenter, view_of(points), config.maps())
    torch.testing.assert_close(mean.double(), looped(segmenter, points, config).detach(), atol=1e-5, rtol=0)
    assert segmenter.encoder.passes == count
    assert not mean.requires_grad


def test_the_eight_symmetries_are_exact_and_differ() -> None:
    maps = AugmentedCopies(24).maps()
    assert np.array_equal(maps[0], np.eye(4))
    assert len({m.tobytes() for m in maps}) == 24
    assert {tuple(np.unique(np.abs(m))) for m in maps[:8]} == {(0.0, 1.0)}
    for m, scale in zip(maps, np.repeat([1.0, 0.95, 1.05], 8), strict=True):
        np.testing.assert_allclose(m[:3, :3] @ m[:3, :3].T, scale**2 * np.eye(3), atol=1e-12)
        assert m[2, 2] == scale


def test_one_copy_changes_nothing(tiny_index: Path) -> None:
    """Bit for bit."""
    segmenter = build_segmenter(LIDAR, {"num_classes": 16})
    dataset = FrameDataset(SweepIndex.open(tiny_index), Needs(), split="sim_val")
    for plain, one in zip(
        predict_scans(segmenter, dataset),
        predict_scans(segmenter, dataset, tta=AugmentedCopies(1)),
        strict=True,
    ):
        assert torch.equal(one.probabilities, plain.probabilities)
        assert torch.equal(one.xyz, plain.xyz)


def test_who_answers_alike_whatever_the_turn_is_unchanged() -> None:
    segmenter, view = pointwise(blind=True), view_of(some_points(50))
    plain = segmenter.logits(view).softmax(dim=1)
    torch.testing.assert_close(copies_probabilities(segmenter, view, AugmentedCopies(8).maps()), plain)
    other = pointwise()
    assert not torch.allclose(
        copies_probabilities(other, view, AugmentedCopies(8).maps()), other.logits(view).softmax(dim=1)
    )


def test_copies_outside_the_range_take_no_part() -> None:
    """At 45 degrees (9, 9) leaves the square of 10 m, and (13, 0) enters it."""
    segmenter = pointwise(reach=10.0)
    points = torch.tensor([[9.0, 9, 0, 1], [13, 0, 0, 1], [1, 2, 0, 1], [30, 0, 0, 1]])
    maps = AugmentedCopies(2, ("",), (0.0, 45.0), (1.0,)).maps()
    mean = copies_probabilities(segmenter, view_of(points), maps)
    each = [segmenter.logits(moved_view(view_of(points), m)).softmax(dim=1) for m in maps]
    torch.testing.assert_close(mean[0], each[0][0])
    torch.testing.assert_close(mean[1], each[1][1])
    torch.testing.assert_close(mean[2], (each[0][2] + each[1][2]) / 2)
    torch.testing.assert_close(mean[3], segmenter.head.bias.softmax(dim=0))


def test_a_moved_view_remembers_its_way() -> None:
    view = view_of(some_points(20))
    for copy_T_view in AugmentedCopies(24).maps():
        moved = moved_view(view, copy_T_view)
        back = moved.points[:, :3] @ torch.linalg.inv(moved.lidar_SE3[0])[:3, :3].T
        torch.testing.assert_close(back, view.points[:, :3])
        assert torch.equal(moved.points[:, 3], view.points[:, 3])


def test_evaluation_says_that_copies_voted(tiny_index: Path, tmp_path: Path) -> None:
    segmenter = build_segmenter(LIDAR, {"num_classes": 16})
    result = evaluate_segmenter(segmenter, tiny_index, "sim_val", tmp_path, tta=AugmentedCopies(3))
    assert "the mean of 3 copies" in summary_text(result)
    assert json.loads((tmp_path / "metrics.json").read_text())["tta"]["count"] == 3


def test_nothing_and_mistakes() -> None:
    empty = copies_probabilities(pointwise(), view_of(torch.zeros(0, 4)), AugmentedCopies().maps())
    assert empty.shape == (0, CLASSES)
    with pytest.raises(ValueError, match="at least one copy"):
        copies_probabilities(pointwise(), view_of(some_points(3)), [])
    for count in (-1, 0, 25):
        with pytest.raises(ValueError, match=f"{count} copies .* expected 1 to 24"):
            AugmentedCopies(count)
    bad: list[dict] = [{"flips": ("z",)}, {"degrees": (math.nan,)}, {"scales": (0.0,)}, {"scales": ()}]
    for options in bad:
        with pytest.raises(ValueError, match=r"flips|degrees|scales|expected 1 to 0"):
            AugmentedCopies(**options)
