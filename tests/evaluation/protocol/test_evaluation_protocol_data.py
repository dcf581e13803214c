"""The points of a probe: drawn once, labelled as the files say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pc3d.data.build import build_index
from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_LIDARSEG_LUT
from pc3d.evaluation.protocol.data import draw_points, spread_key_frames


@pytest.fixture(scope="module")
def index(tiny_index: Path) -> SweepIndex:
    return SweepIndex.open(tiny_index)


def test_labels_are_those_of_the_files(index: SweepIndex) -> None:
    tokens = spread_key_frames(index, "sim_train", 2)
    data = draw_points(index, tokens, 200)
    assert data.tokens == tuple(tokens)
    assert (len(data), data.num_classes) == (400, 16)
    expected = []
    for token, rows in zip(tokens, data.rows, strict=True):
        raw = np.fromfile(index[index.row_of(token)].lidarseg_path, np.uint8)
        assert (np.diff(rows) > 0).all()
        expected.append(NUSCENES_LIDARSEG_LUT[raw[rows]])
    np.testing.assert_array_equal(data.labels, np.concatenate(expected))
    assert data.labels.min() >= 0
    for (points, rows), own in zip(data.clouds(), data.rows, strict=True):
        assert points.shape[1] == 4
        assert rows is own


def test_a_draw_depends_on_the_sweep_and_the_seed_alone(index: SweepIndex) -> None:
    tokens = spread_key_frames(index, "sim_train", 3)
    data = draw_points(index, tokens, 50)
    again = draw_points(SweepIndex.open(index.folder), tokens[::-1][:2], 50)
    np.testing.assert_array_equal(again.rows[0], data.rows[2])
    np.testing.assert_array_equal(again.rows[1], data.rows[1])
    other = draw_points(index, tokens, 50, seed=1)
    assert not np.array_equal(other.rows[0], data.rows[0])
    # More points of a sweep are the same ones and more.
    assert set(data.rows[0]) < set(draw_points(index, tokens[:1], 80).rows[0])


def test_the_draw_is_uniform(index: SweepIndex) -> None:
    tokens = spread_key_frames(index, "sim_train", 1)
    every = draw_points(index, tokens, 10**6)
    some = draw_points(index, tokens, 3000)
    shares = [np.bincount(data.labels, minlength=16) / len(data) for data in (every, some)]
    np.testing.assert_allclose(shares[1], shares[0], atol=0.03)


def test_select(index: SweepIndex) -> None:
    data = draw_points(index, spread_key_frames(index, "sim_train", 2), 40)
    chosen = np.arange(80) % 3 == 0
    part = data.select(chosen)
    np.testing.assert_array_equal(part.labels, data.labels[chosen])
    np.testing.assert_array_equal(np.concatenate(part.rows), np.concatenate(data.rows)[chosen])
    assert [len(rows) for rows in part.rows] == [int(chosen[:40].sum()), int(chosen[40:].sum())]


def test_key_frames_at_equal_steps(index: SweepIndex) -> None:
    every = [index[row].token for row in index.key_rows("sim_train").tolist()]
    assert spread_key_frames(index, "sim_train", 100) == every
    assert spread_key_frames(index, "sim_train", 3) == every[::2]
    assert spread_key_frames(index, "sim_train", 1) == every[:1]
    with pytest.raises(ValueError, match="at least 1"):
        spread_key_frames(index, "sim_train", 0)


def test_common_classes_of_a_real_scan(real_data: Path, tmp_path: Path) -> None:
    build_index("semantic_kitti", real_data / "semantic_kitti", tmp_path / "index", "the test")
    index = SweepIndex.open(tmp_path / "index")
    tokens = [index[row].token for row in index.key_rows(None).tolist()[:1]]
    own, common = (draw_points(index, tokens, 2000, common=flag) for flag in (False, True))
    assert "road" in own.classes
    assert common.classes == load_class_set("nuscenes").classes
    raw = np.fromfile(index[index.row_of(tokens[0])].lidarseg_path, np.uint32)[common.rows[0]] & 0xFFFF
    meant = {40: "driveable_surface", 44: "driveable_surface", 70: "vegetation", 10: "car", 50: "manmade"}
    for number, name in meant.items():
        assert (common.labels[raw == number] == common.classes.index(name)).all()
    assert len(np.unique(common.labels)) > 3
    # Most points are in both draws: what differs are those that one of the sets ignores.
    assert len(np.intersect1d(own.rows[0], common.rows[0])) > 1800


def test_what_cannot_be_drawn(index: SweepIndex) -> None:
    tokens = spread_key_frames(index, "sim_train", 1)
    for wrong in ([], tokens * 2):
        with pytest.raises(ValueError, match="each sweep once"):
            draw_points(index, wrong)
    with pytest.raises(ValueError, match="at least 1 of each"):
        draw_points(index, tokens, 0)
    with pytest.raises(DataError, match="no sweep has"):
        draw_points(index, ["nothing"])
    plain = next(index[row] for row in range(len(index)) if not index[row].is_key_frame)
    with pytest.raises(DataError, match="no point labels"):
        draw_points(index, [plain.token])
