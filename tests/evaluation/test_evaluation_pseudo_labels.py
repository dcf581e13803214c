"""Pseudo-labels: the rule against a loop, and label, train and read them on the tiny simulated drive."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from voting_loops import clear_argmax, looped_agreement, looped_vote, noisy_scans, random_scan

from pc3d.data.batch import Needs
from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.index_hashes import seal
from pc3d.data.labels import load_label_file
from pc3d.data.region_cache import RegionCache
from pc3d.data.splits import read_tokens, write_tokens
from pc3d.engine.config import load_config
from pc3d.engine.data import build_dataset
from pc3d.engine.finetuner import finetune
from pc3d.evaluation.own.scored_classes import may_move
from pc3d.evaluation.pseudo_labels import (
    PseudoLabelConfig,
    pseudo_labels,
    summary_text,
    write_pseudo_labels,
)
from pc3d.evaluation.temporal_voting import Scan, VotingConfig, windows
from pc3d.geometry.rigid import make_SE3

NUSCENES = load_class_set("nuscenes")

CONFIG = Path(__file__).resolve().parents[2] / "configs/finetune/sim_semi_supervised.py"
NARROW = {
    "lidar.widths": (4, 4, 8, 8, 8, 8, 8, 8),
    "lidar.stem": 4,
    "lidar.voxel_size": (0.5, 0.5, 0.5),
    "lidar.bev_channels": 8,
    "data.workers": 0,
    "schedule.iterations": 2,
    "runtime.log_level": "WARNING",
}
LENIENT = PseudoLabelConfig(threshold=0.08, agree=2, voting=VotingConfig(1, voxel_size=1.0))

MOVING_CLASSES = may_move(load_class_set("nuscenes"))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    scans=st.integers(1, 4),
    threshold=st.sampled_from([0.0, 0.4, 0.9]),
    agree=st.integers(1, 3),
    moving=st.sampled_from([(), (1,)]),
)
def test_the_rule_is_the_loops(
    seed: int, scans: int, threshold: float, agree: int, moving: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(seed)
    window = [random_scan(rng, number) for number in range(scans)]
    now = int(rng.integers(scans))
    config = PseudoLabelConfig(threshold, agree, VotingConfig(1, 0.5, moving_classes=moving))
    voted = looped_vote(window, now, config.voting)
    labels = clear_argmax(voted)
    assume((np.abs(voted.max(axis=1) - threshold) > 1e-5).all())
    agreeing = looped_agreement(window, now, labels, 0.5)
    expected = np.where((voted.max(axis=1) >= threshold) & (agreeing >= agree), labels, -1)
    np.testing.assert_array_equal(pseudo_labels(window, now, config).numpy(), expected)


def test_what_is_kept_is_cleaner_than_the_predictions(tiny_index: Path) -> None:
    """On noisy truth, and stricter settings keep fewer and better labels."""
    index = SweepIndex.open(tiny_index)

    def kept(config: PseudoLabelConfig) -> tuple[float, float, float]:
        shares, rights, own = [], [], []
        for now, window in windows(noisy_scans(index, "sim_train", 0.3), 1):
            truth, labels = window[now].labels, pseudo_labels(window, now, config)
            given = (labels >= 0) & (truth >= 0)
            shares.append(float(given.float().mean()))
            rights.append(float((labels == truth)[given].float().mean()))
            own.append(float((window[now].probabilities.argmax(1) == truth)[truth >= 0].float().mean()))
        return float(np.mean(shares)), float(np.mean(rights)), float(np.mean(own))

    voting = VotingConfig(1)
    loose, two, strict = (
        kept(PseudoLabelConfig(threshold, agree, voting))
        for threshold, agree in ((0.3, 1), (0.3, 2), (0.55, 2))
    )
    assert loose[1] > loose[2] + 0.05
    assert two[1] > loose[1]
    assert strict[1] > two[1]
    assert 0.02 < strict[0] < two[0] < loose[0]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"agree 4 in 1\.\.3"):
        PseudoLabelConfig(agree=4)
    with pytest.raises(ValueError, match=r"agree 2 in 1\.\.1"):
        PseudoLabelConfig(voting=VotingConfig(0))
    with pytest.raises(ValueError, match="threshold"):
        PseudoLabelConfig(threshold=1.5)


def settings_of(index: Path, **more: object) -> dict[str, object]:
    return {**NARROW, "data.index": str(index), **more}


@pytest.fixture(scope="module")
def labelled(tiny_index: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A segmenter of two steps, the list of the two frames that it learned from, and its pseudo-labels."""
    folder = tmp_path_factory.mktemp("pseudo")
    index = SweepIndex.open(tiny_index)
    write_tokens(
        folder / "labelled.txt", [index[int(row)].token for row in index.key_rows("sim_train")[::4]], "two"
    )
    overrides = settings_of(tiny_index, **{"data.tokens": str(folder / "labelled.txt")})
    config = load_config(CONFIG.parent / "sim_1_percent.py", "finetune", overrides)
    checkpoint = finetune(config, folder / "teacher")
    excluded = set(read_tokens(folder / "labelled.txt"))
    write_pseudo_labels(checkpoint, tiny_index, "sim_train", folder / "pseudo", LENIENT, excluded)
    return checkpoint, folder / "labelled.txt", folder / "pseudo"


def test_files_and_statistics(labelled: tuple[Path, Path, Path], tiny_index: Path) -> None:
    _, tokens, folder = labelled
    index = SweepIndex.open(tiny_index)
    excluded = read_tokens(tokens)
    cache = RegionCache.find(folder, "pseudo_labels")
    given = points = right = judged = 0
    named = []
    for row in index.key_rows("sim_train"):
        sweep = index[int(row)]
        if sweep.token in excluded:
            assert not cache.has(sweep.token)
            continue
        assert sweep.lidarseg_path is not None
        truth = load_label_file(sweep.lidarseg_path, sweep.lidarseg_path.stat().st_size, NUSCENES)
        points += len(truth)
        if not cache.has(sweep.token):
            continue
        named.append(sweep.token)
        labels = cache.load_all(sweep.token)["labels"]
        assert labels.dtype == np.uint8
        assert labels.shape == truth.shape
        given += int((labels != 255).sum())
        both = (labels != 255) & (truth >= 0)
        judged += int(both.sum())
        right += int((labels == truth)[both].sum())
    assert read_tokens(folder / "tokens.txt") == named
    statistics = json.loads((folder / "statistics.json").read_text())
    assert statistics["frames"] == 4
    assert statistics["frames_labelled"] == len(named) > 0
    assert statistics["share"] == pytest.approx(given / points)
    assert statistics["accuracy"] == pytest.approx(right / judged)
    assert f"{100 * given / points:.1f} % of {points} points" in summary_text(statistics)


def test_training_on_labels_and_pseudo_labels(
    labelled: tuple[Path, Path, Path], tiny_index: Path, tmp_path: Path
) -> None:
    _, tokens, folder = labelled
    sources = [
        {"tokens": str(tokens), "repeat": 3},
        {"pseudo_labels": str(folder), "tokens": str(folder / "tokens.txt")},
    ]
    config = load_config(CONFIG, "finetune", settings_of(tiny_index, **{"data.sources": sources}))
    dataset = build_dataset(config.data.to_dict(), Needs(labels=True))
    pseudo_tokens = read_tokens(folder / "tokens.txt")
    assert len(dataset) == 3 * 2 + len(pseudo_tokens)
    repeated = [dataset[0, position] for position in (0, 2, 4)]
    assert len({sample.token for sample in repeated}) == 1
    turns = [sample.frames["t"].views["a"].view_T_lidar for sample in repeated]
    assert not np.allclose(turns[0], turns[1])
    cache = RegionCache.find(folder, "pseudo_labels")
    for position, token in enumerate(pseudo_tokens):
        sample = dataset[0, 6 + position]
        stored = cache.load_all(token)["labels"].astype(np.int64)
        assert sample.token == token
        np.testing.assert_array_equal(sample.frames["t"].labels, np.where(stored == 255, -1, stored))
    checkpoint = finetune(config, tmp_path)
    assert checkpoint.is_file()
    with pytest.raises(ValueError, match="`repeat` of a data source is 0"):
        build_dataset({"index": str(tiny_index), "repeat": 0}, Needs())


def test_the_shipped_config_names_both_sources() -> None:
    sources = load_config(CONFIG, "finetune").data.sources
    assert sources[0].fraction == 1
    assert sources[1].tokens == f"{sources[1].pseudo_labels}/tokens.txt"


def test_bad_input_is_named(labelled: tuple[Path, Path, Path], tiny_index: Path, tmp_path: Path) -> None:
    checkpoint, tokens, folder = labelled
    with pytest.raises(DataError, match=r"other pseudo-labels[\s\S]*another --out"):
        write_pseudo_labels(checkpoint, tiny_index, "sim_train", folder, PseudoLabelConfig())
    with pytest.raises(DataError, match="not in split 'sim_val'"):
        write_pseudo_labels(
            checkpoint, tiny_index, "sim_val", tmp_path, LENIENT, excluded=set(read_tokens(tokens))
        )
    with pytest.raises(DataError, match="no point got a pseudo-label"):
        write_pseudo_labels(checkpoint, tiny_index, "sim_val", tmp_path, PseudoLabelConfig(threshold=1.0))
    with pytest.raises(DataError, match="no checkpoint"):
        write_pseudo_labels(tmp_path / "no", tiny_index, "sim_val", tmp_path, LENIENT)
    with pytest.raises(DataError, match="no cache of pseudo_labels"):
        RegionCache.find(tmp_path / "nowhere", "pseudo_labels")
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    cache = RegionCache.find(broken, "pseudo_labels")
    (token, *_) = read_tokens(folder / "tokens.txt")
    cache.save(token, {"labels": np.zeros(3, np.uint8)})
    source = {"index": str(tiny_index), "pseudo_labels": str(broken), "tokens": str(folder / "tokens.txt")}
    with pytest.raises(DataError, match=r"of shape \(3,\)[\s\S]*pc3d pseudo-label"):
        build_dataset(source, Needs(labels=True))[0, 0]
    cache.path(token).unlink()
    with pytest.raises(DataError, match=r"no pseudo_labels[\s\S]*pc3d pseudo-label"):
        build_dataset(source, Needs(labels=True))[0, 0]
    RegionCache(broken, "pseudo_labels", {"other": 1}).save("x", {"labels": np.zeros(1, np.uint8)})
    with pytest.raises(DataError, match="2 caches of pseudo_labels"):
        build_dataset(source, Needs(labels=True))


def test_a_drive_without_any_label_file(
    labelled: tuple[Path, Path, Path], tiny_index: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_index, tmp_path / "index")
    facts = json.loads((tmp_path / "index/metadata.json").read_text())
    (tmp_path / "index/metadata.json").write_text(json.dumps(seal({**facts, "classes": None})))
    result = write_pseudo_labels(labelled[0], tmp_path / "index", "sim_val", tmp_path / "pseudo", LENIENT)
    assert result["accuracy"] is None
    assert result["share"] > 0
    assert "accuracy" not in summary_text(result)
    source = {"index": str(tmp_path / "index"), "split": "sim_val", "pseudo_labels": str(tmp_path / "pseudo")}
    labels = build_dataset(source, Needs(labels=True))[0, 0].frames["t"].labels
    assert torch.from_numpy(labels).max() < 16


def test_a_parked_car_is_labelled_and_one_that_drives_is_not() -> None:
    car = MOVING_CLASSES[0]
    sure = torch.full((2, 16), 0.05 / 15)
    sure[:, car] = 0.95
    window = [
        Scan(
            token=str(number),
            scene="a",
            seconds=0.5 * number,
            xyz=torch.tensor([[10.05 - number, 0.05, 0.05], [5.05 + 2 * number, 3.05, 0.05]]),
            world_SE3_lidar=make_SE3(np.eye(3), [float(number), 0.0, 0.0]),
            probabilities=sure,
        )
        for number in range(3)
    ]
    assert pseudo_labels(window, 1, PseudoLabelConfig()).tolist() == [car, -1]
    assert pseudo_labels(window, 1, PseudoLabelConfig(agree=1)).tolist() == [car, car]
