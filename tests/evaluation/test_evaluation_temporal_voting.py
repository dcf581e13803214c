"""Temporal voting against a plain loop, on the simulator's truth, and wired into the evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from voting_loops import looped_agreement, looped_vote, noisy_scans, random_scan

from pc3d.data.batch import Needs
from pc3d.data.classes import load_class_set
from pc3d.data.dataset import FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CLASSES
from pc3d.data.region_cache import RegionCache
from pc3d.engine.finetuner import build_segmenter
from pc3d.evaluation.metrics import confusion_matrix, iou_per_class, mean_iou
from pc3d.evaluation.own.scored_classes import may_move
from pc3d.evaluation.segmentation import evaluate_segmenter, summary_text
from pc3d.evaluation.temporal_voting import (
    Scan,
    VotingConfig,
    agreeing_scans,
    vote,
    windows,
)

LIDAR = {
    "type": "MinkUNet",
    "depth": 18,
    "widths": (4, 4, 8, 8, 8, 8, 8, 8),
    "stem": 4,
    "voxel_size": (0.5, 0.5, 0.5),
    "bev_channels": 8,
}

MOVING_CLASSES = may_move(load_class_set("nuscenes"))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    scans=st.integers(1, 5),
    voxel=st.sampled_from([0.2, 0.5, 3.0]),
    combine=st.sampled_from(["replace", "average"]),
    half_life=st.sampled_from([None, 0.3, 2.0]),
    moving=st.sampled_from([(), (1,), (0, 1, 2, 3)]),
)
def test_the_vote_is_the_loops(
    seed: int, scans: int, voxel: float, combine: str, half_life: float | None, moving: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(seed)
    window = [random_scan(rng, number) for number in range(scans)]
    now = int(rng.integers(scans))
    config = VotingConfig(2, voxel, combine, half_life, moving)
    voted = vote(window, now, config)
    np.testing.assert_allclose(voted.numpy(), looped_vote(window, now, config), atol=1e-5)
    torch.testing.assert_close(voted.sum(dim=1), torch.ones(len(voted)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scans=st.integers(1, 4), voxel=st.sampled_from([0.3, 1.0]))
def test_agreement_is_the_loops(seed: int, scans: int, voxel: float) -> None:
    rng = np.random.default_rng(seed)
    window = [random_scan(rng, number) for number in range(scans)]
    labels = torch.from_numpy(rng.integers(0, 4, len(window[0].xyz)))
    expected = looped_agreement(window, 0, labels.numpy(), voxel)
    np.testing.assert_array_equal(agreeing_scans(window, 0, labels, voxel).numpy(), expected)


@pytest.mark.parametrize("neighbours", [0, 1, 2, 5])
def test_windows_stay_in_their_scene_and_in_memory(neighbours: int) -> None:
    lengths = {"a": 1, "b": 4, "c": 7, "d": 2}
    tokens = {scene: [f"{scene}{number}" for number in range(count)] for scene, count in lengths.items()}
    read: list[str] = []

    def scans() -> Iterator[Scan]:
        rng = np.random.default_rng(0)
        for scene, count in lengths.items():
            for number in range(count):
                read.append(f"{scene}{number}")
                yield random_scan(rng, number, scene=scene)

    seen = []
    for now, window in windows(scans(), neighbours):
        scene, number = window[now].scene, int(window[now].token[1:])
        expected = tokens[scene][max(0, number - neighbours) : number + neighbours + 1]
        assert [scan.token for scan in window] == expected
        assert read[-1] in [*expected, *(names[0] for names in tokens.values())]  # never reads ahead
        seen.append(window[now].token)
    assert seen == [token for names in tokens.values() for token in names]
    assert list(windows([], neighbours)) == []


def test_options_are_checked_and_say_what_they_do() -> None:
    rng = np.random.default_rng(3)
    window = [random_scan(rng, number) for number in range(3)]
    still = VotingConfig(1, voxel_size=1.0, moving_classes=())
    alone = vote(window[1:2], 0, still)
    assert not torch.allclose(vote(window, 1, still), alone)
    # A short half-life leaves the scan's own voxels; a mover of any class keeps everything.
    fading = VotingConfig(1, voxel_size=1.0, half_life=0.01, moving_classes=())
    torch.testing.assert_close(vote(window, 1, fading), alone)
    everything = VotingConfig(1, voxel_size=1.0, moving_classes=(0, 1, 2, 3))
    assert torch.equal(vote(window, 1, everything), window[1].probabilities)
    for bad in ({"neighbours": -1}, {"voxel_size": 0.0}, {"combine": "max"}, {"half_life": 0.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            VotingConfig(**bad)


def test_a_scan_without_points() -> None:
    scan = random_scan(np.random.default_rng(0), 0)
    empty = Scan("e", "a", 0.0, torch.zeros(0, 3), np.eye(4), torch.zeros(0, 4))
    assert vote([empty, scan], 0, VotingConfig()).shape == (0, 4)
    own = vote([scan], 0, VotingConfig(moving_classes=()))
    assert torch.equal(vote([empty, scan], 1, VotingConfig(moving_classes=())), own)


def test_voting_cleans_static_classes_and_leaves_movers(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    static = [number for number in range(16) if number not in MOVING_CLASSES]
    confusions = {k: torch.zeros(16, 16, dtype=torch.long) for k in ("own", 0, 1)}
    for k in (0, 1):
        config = VotingConfig(k, moving_classes=MOVING_CLASSES)
        for now, window in windows(noisy_scans(index, "sim_train", 0.3), k):
            scan, voted = window[now], vote(window, now, config)
            movers = scan.keeps_own(MOVING_CLASSES)
            assert torch.equal(voted[movers], scan.probabilities[movers])
            confusions[k] += confusion_matrix(scan.labels, voted.argmax(dim=1), 16)
            if k == 0:
                confusions["own"] += confusion_matrix(scan.labels, scan.probabilities.argmax(dim=1), 16)
    miou = {k: float(iou_per_class(confusion)[static].nanmean()) for k, confusion in confusions.items()}
    assert miou[0] > miou["own"] + 0.05  # a voxel of one scan smooths too
    assert miou[1] > miou[0] + 0.005


def test_evaluation_scores_with_and_without(tiny_index: Path, tmp_path: Path) -> None:
    segmenter = build_segmenter(LIDAR, {"num_classes": 16})
    plain = evaluate_segmenter(segmenter, tiny_index, "sim_val", tmp_path / "plain")
    both = evaluate_segmenter(
        segmenter, tiny_index, "sim_val", tmp_path / "both", voting=VotingConfig(1, moving_classes=())
    )
    assert both["miou"] == plain["miou"]
    assert both["voting"]["neighbours"] == 1
    confusion = torch.from_numpy(np.load(tmp_path / "both/temporal_voting/confusion.npy"))
    assert both["voted"]["miou"] == pytest.approx(mean_iou(confusion, "official"), abs=1e-6)
    assert not np.array_equal(confusion, np.load(tmp_path / "both/confusion.npy"))
    stored = json.loads((tmp_path / "both/metrics.json").read_text())
    assert stored["voted"]["miou"] == pytest.approx(both["voted"]["miou"])
    text = summary_text(both)
    assert "k = 1" in text
    assert all(name in text for name in NUSCENES_LIDARSEG_CLASSES)
    assert "voting" not in summary_text(plain)


def test_points_in_moving_segments_take_no_part(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    cache = RegionCache(tmp_path, "tracks", {})
    dataset = FrameDataset(index, Needs(), split="sim_val")
    for position in range(len(dataset)):
        sample = dataset[position]
        ones = np.ones(sample.frames["t"].num_points, dtype=np.int16)
        cache.save(sample.token, {"track_now": ones, "moving_now": ones})
    result = evaluate_segmenter(
        build_segmenter(LIDAR, {"num_classes": 16}),
        tiny_index,
        "sim_val",
        tmp_path,
        voting=VotingConfig(1, moving_classes=()),
        tracks=cache,
    )
    assert result["voted"]["iou"] == pytest.approx(result["iou"], nan_ok=True)
