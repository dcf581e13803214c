"""Transfer: draws, scores against scikit-learn, feature sets, the table, and the real samples."""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, jaccard_score, recall_score
from sklearn.neighbors import KNeighborsClassifier
from small_models import MINK

from pc3d.data.errors import DataError
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_sweep
from pc3d.evaluation.bench_transfer import WITHIN_A_DRIVE, Settings, _networks, run
from pc3d.evaluation.protocol.data import draw_points
from pc3d.evaluation.protocol.networks import Backbone
from pc3d.evaluation.transfer.features import Draws, feature_sets
from pc3d.evaluation.transfer.scores import box_scores, scaled, segmentation_scores, shared_classes
from pc3d.evaluation.transfer.table import CAUTION, to_markdown
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.weights import save_backbone


def _clusters(seed: int, labels: NDArray[np.int64], noise: float = 0.6) -> NDArray[np.float64]:
    """Four features that tell labels apart, not perfectly."""
    centres = np.random.default_rng(7).normal(size=(16, 4)) * 2
    return centres[labels] + noise * np.random.default_rng(seed).normal(size=(len(labels), 4))


@pytest.fixture(scope="module")
def index(tiny_index: Path) -> SweepIndex:
    return SweepIndex.open(tiny_index)


@pytest.fixture(scope="module")
def draws(index: SweepIndex) -> Draws:
    tokens = [index[int(row)].token for row in index.key_rows()[:2]]
    return Draws.of("simulated", [draw_points(index, tokens, 60, seed) for seed in (0, 1)])


def test_draws_that_are_encoded_together_are_the_draws(index: SweepIndex, draws: Draws) -> None:
    tokens = draws.data.tokens
    for number, seed in enumerate((0, 1)):
        alone = draw_points(index, list(tokens), 60, seed)
        np.testing.assert_array_equal(draws.labels(number), alone.labels)
        sweep_of = np.repeat([0, 1], [len(rows) for rows in draws.data.rows])
        row_of = np.concatenate(draws.data.rows)
        chosen = draws.positions[number]
        np.testing.assert_array_equal(row_of[chosen], np.concatenate(alone.rows))
        np.testing.assert_array_equal(sweep_of[chosen], np.repeat([0, 1], [len(r) for r in alone.rows]))
    assert len(draws.data) < sum(map(len, draws.positions)) or len(np.unique(np.concatenate(draws.positions)))
    with pytest.raises(ValueError, match="same frames"):
        Draws.of("", [draw_points(index, [tokens[0]], 5), draw_points(index, [tokens[1]], 5)])
    with pytest.raises(ValueError, match="at least one"):
        Draws.of("", [])


def test_feature_sets_are_all_references_and_networks_twice(draws: Draws) -> None:
    torch.manual_seed(0)
    network = Backbone(build_lidar_encoder(MINK).eval(), MINK, FrameConfig())
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    found = {one.name: one for one in feature_sets(draws.data, [("mine", network)])}
    assert list(found) == [
        "x, y, z",
        "z, intensity, range",
        "hand-made",
        "hand-made without intensity",
        "mine",
        "hand-made beside mine",
        "mine, re-estimated",
        "hand-made beside mine, re-estimated",
    ]
    assert all(len(one.features) == len(draws.data) for one in found.values())
    points = [load_sweep(draws.data.index[draws.data.index.row_of(token)]) for token in draws.data.tokens]
    expected = np.concatenate([cloud[rows, :3] for cloud, rows in zip(points, draws.data.rows, strict=True)])
    np.testing.assert_array_equal(found["x, y, z"].features, expected)
    assert not np.allclose(found["mine"].features, found["mine, re-estimated"].features)
    for name, value in network.encoder.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=30), min_size=2, max_size=2),
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=30), min_size=1, max_size=3),
    st.integers(1, 3),
)
def test_shared_classes_are_in_every_draw(ours: list, theirs: list, least: int) -> None:
    shared, why = shared_classes([np.array(d) for d in ours], [np.array(d) for d in theirs], 6, least)
    assert shared == [k for k in range(6) if all(d.count(k) >= least for d in [*ours, *theirs])]
    assert set(why) == {k for d in [*ours, *theirs] for k in d} - set(shared)
    for label, reason in why.items():
        one_side = not any(label in d for d in ours) or not any(label in d for d in theirs)
        assert ("one data set only" in reason) == one_side


def test_scores_of_classes_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    train_y, val_y = rng.integers(0, 4, 300), rng.choice([0, 1, 2, 5], 200)
    x, y = scaled(_clusters(1, train_y, 1.5), _clusters(2, val_y, 1.5), "train")
    found = segmentation_scores((x, train_y), (y, val_y), [0, 1, 2], 6)
    models = {
        "logistic": LogisticRegression(C=1.0, max_iter=5000, tol=1e-8).fit(x, train_y),
        "knn": KNeighborsClassifier(20).fit(x, train_y),
    }
    for name, model in models.items():
        expected = jaccard_score(val_y, model.predict(y), labels=[0, 1, 2], average="macro")
        assert found[name] == pytest.approx(100 * expected, abs=0.5)


def test_scores_of_boxes_are_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    train_y, val_y = rng.choice(4, 400, p=[0.5, 0.3, 0.15, 0.05]), rng.choice(3, 300)
    x, y = scaled(_clusters(3, train_y, 2.0), _clusters(4, val_y, 2.0), "train")
    found = box_scores((x, train_y), (y, val_y))
    model = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8).fit(x, train_y > 0)
    expected = average_precision_score(val_y > 0, model.predict_proba(y)[:, 1])
    assert found["ap"] == pytest.approx(100 * expected, abs=0.1)
    near = KNeighborsClassifier(20).fit(x, train_y > 0).predict(y)
    assert found["knn"] == pytest.approx(100 * recall_score(val_y > 0, near, average="macro"), abs=0.5)
    inside, asked = np.isin(train_y, [1, 2]), val_y > 0
    # Rows of the rarer kind, which is 2, are repeated until there are as many: that is a weight.
    common, rare = (train_y == 1).sum(), (train_y == 2).sum()
    times = np.where(train_y == 2, common // rare + (np.cumsum(train_y == 2) <= common % rare), 1)
    balanced = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8)
    guess = balanced.fit(x[inside], train_y[inside], sample_weight=times[inside]).predict(y[asked])
    assert found["kinds"] == pytest.approx(100 * recall_score(val_y[asked], guess, average="macro"), abs=0.5)


def test_without_pedestrians_there_is_no_score_of_kinds() -> None:
    train_y, val_y = np.array([0, 1, 2] * 20), np.array([0, 3, 1] * 20)
    x, y = scaled(_clusters(5, train_y), _clusters(6, val_y), "train")
    assert set(box_scores((x, train_y), (y, val_y))) == {"ap", "knn"}


def test_each_part_by_itself_undoes_another_scale() -> None:
    labels = np.random.default_rng(2).integers(0, 3, 200)
    train, val = _clusters(8, labels), _clusters(9, labels)
    moved = val * np.array([1, 255, 0.1, 1]) + np.array([0, 3, 0, -1.8])
    plain, undone = (scaled(train, part, "each")[1] for part in (val, moved))
    np.testing.assert_allclose(plain, undone, atol=1e-9)
    np.testing.assert_allclose(undone.std(axis=0), 1)
    # By the training part a training value becomes what its own mean and deviation make it.
    np.testing.assert_allclose(
        scaled(train, train[:5], "train")[1], (train[:5] - train.mean(0)) / train.std(0)
    )
    with pytest.raises(ValueError, match="scale"):
        scaled(train, val, "both")


def _result(**changes: object) -> dict:
    scores = {"logistic": [10.0, 20.0, 30.0, 40.0], "knn": [30.0, 30.0, 30.0, 30.0]}
    reference = {"logistic": [10.0, 20.0], "knn": [40.0, 40.0]}
    direction = {
        "train": "A",
        "val": "B",
        "note": "",
        "classes": ["car", "road"],
        "left_out_of_the_mean": {"bus": "drawn in one data set only"},
        "out_of_range": {"mine": 0.25, "hand-made beside mine": 0.25},
        "lines": {
            "x, y, z": {"train": reference, "each": reference},
            "hand-made": {"train": reference, "each": reference},
            "mine": {"train": scores, "each": scores},
        },
    }
    box = {"ap": [50.0, 60.0], "knn": [50.0, 50.0]}
    boxes = [
        {
            "train": "A",
            "val": val,
            "boxes": {"train": 30, "val": count},
            "in_mean": count >= 10,
            "lines": {
                "mine": {"train": box, "each": {name: [v + 1 for v in of] for name, of in box.items()}}
            },
        }
        for val, count in (("B", 20), ("C", 2))
    ]
    return {
        "points": [direction, {**direction, "note": WITHIN_A_DRIVE}],
        "boxes": boxes,
        "left_out": {"D": "no folder d/"},
        "settings": {
            "seeds": [0, 1],
            "random_seeds": [0],
            "points": 7,
            "fit_boxes": 10,
            "box": {"per_box": 20, "reach": 4.0, "margin": 0.5, "ground": False},
        },
        "environment": {"started": "2026-01-02T00:00:00", "machine": "here", "threads": 1},
        **changes,
    }


def test_the_table_says_what_it_is() -> None:
    text = to_markdown(_result())
    assert CAUTION in text
    assert "Nothing is claimed from one scan" in text
    deviation = f"{statistics.stdev([10, 20, 30, 40]):.1f}"
    above = f"+10.0 ± {statistics.stdev([0, 0, 20, 20]):.1f}"
    own = f"25.0 ± {deviation} | 30.0 ± 0.0"
    assert f"| mine | {own} | {above} | -10.0 ± 0.0 | {own} |" in text
    assert "| hand-made | 15.0 ± 7.1 | 40.0 ± 0.0 |  |  | 15.0 ± 7.1 | 40.0 ± 0.0 |" in text
    assert "Classes: car, road. Left out of the mean: bus: drawn in one data set only." in text
    assert "mine 25 % of the points" in text
    assert text.count(WITHIN_A_DRIVE) == 1
    assert f"{WITHIN_A_DRIVE} 40." in text
    # C has two boxes, too few for a column.
    assert "| mine | 55.0 ± 7.1 | 55.0 | 56.0 |" in text
    assert "A 30, B 20, C 2" in text
    assert "Not there: D (no folder d/)." in text
    assert "vehicle or pedestrian" not in text  # no direction has both


def test_bad_input_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed"):
        Settings(seeds=())
    with pytest.raises(ValueError, match="points is 0"):
        Settings(points=0)
    with pytest.raises(DataError, match="no two data sets"):
        run(tmp_path, MINK)
    with pytest.raises(DataError, match="no checkpoint"):
        run(tmp_path, MINK, {"mine": tmp_path / "none.safetensors"})
    with pytest.raises(ValueError, match="named 'hand-made'"):
        run(tmp_path, MINK, {"hand-made": tmp_path / "none.safetensors"})


def test_random_networks_are_made_as_the_given_ones(tmp_path: Path) -> None:
    wide = {**MINK, "bev_channels": 16}
    files = {}
    for name, config in (("a", MINK), ("b", MINK), ("wide", wide)):
        files[name] = tmp_path / f"{name}.safetensors"
        save_backbone(build_lidar_encoder(config), files[name], {"lidar": json.dumps(config)})
    alike = _networks(wide, {"a": files["a"], "b": files["b"]}, (0, 1))
    assert [name for name, _ in alike] == ["random network", "random network", "a", "b"]
    assert all(network.encoder.bev_channels == MINK["bev_channels"] for _, network in alike)
    first, second = (next(network.encoder.parameters()) for _, network in alike[:2])
    assert not torch.equal(first, second)
    both = [name for name, _ in _networks(MINK, files, (0,))]
    assert both == ["random network like a, b", "random network like wide", "a", "b", "wide"]
    assert [name for name, _ in _networks(wide, {}, (0,))] == ["random network"]


def test_real_samples(real_data: Path, tmp_path: Path) -> None:
    for name in ("semantic_kitti", "pandaset", "nuscenes"):
        os.symlink(real_data / name, tmp_path / name)
    tiny = Settings(seeds=(0, 1), random_seeds=(0,), points=400, frames=2, least=5)
    result = run(tmp_path, MINK, settings=tiny)
    directions = {(one["train"], one["val"]): one for one in result["points"]}
    assert len(directions) == 5
    there, back = (
        directions[pair] for pair in (("SemanticKITTI", "PandaSet"), ("PandaSet", "SemanticKITTI"))
    )
    assert there["classes"] == back["classes"]
    assert {"car", "driveable_surface", "manmade", "vegetation"} <= set(there["classes"])
    # The scans of SemanticKITTI have no pedestrian: the mean has none.
    assert "pedestrian" not in there["classes"]
    within = next(one for one in result["points"] if one["note"])
    knn = {one["note"]: statistics.mean(one["lines"]["x, y, z"]["train"]["knn"]) for one in (within, there)}
    assert knn[WITHIN_A_DRIVE] > knn[""] + 15
    assert list(there["lines"]) == list(within["lines"])
    assert "hand-made beside random network, re-estimated" in there["lines"]
    assert len(there["lines"]["random network"]["each"]["logistic"]) == 2
    assert {(one["train"], one["val"]) for one in result["boxes"]} == {
        ("nuScenes", "PandaSet"),
        ("PandaSet", "nuScenes"),
    }
    assert all(one["boxes"]["val"] > 20 for one in result["boxes"])
    text = to_markdown(result)
    assert "Argoverse 2 (no folder argoverse2/)" in text
