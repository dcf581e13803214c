"""The published lists of label fractions are what their comment lines and the rules say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pc3d.data.batch import Needs
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.splits import (
    PERCENTS,
    label_fraction,
    read_tokens,
    rows_of_scenes,
    write_fraction_lists,
    write_scene_lists,
)
from pc3d.engine.data import build_dataset
from pc3d.sim.sizes import SIZES
from pc3d.sim.tables import token
from pc3d.sim.towns import plan_scenes

SPLITS = Path(__file__).resolve().parents[2] / "configs" / "splits"
STRIDES = {1: 100, 5: 20, 10: 10, 20: 5, 25: 4, 50: 2, 100: 1}


def bench_tokens() -> list[list[str]]:
    """Tokens of the LiDAR key frames of each training scene of the bench simulation, without simulating."""
    size = SIZES["bench"]
    plans = plan_scenes(size.train_scenes, size.val_scenes, 0, "v1.0-sim")
    return [
        [token(plan.namespace, "LIDAR_TOP", plan.start + 500_000 * n) for n in range(size.key_frames)]
        for plan in plans
        if plan.split == "sim_train"
    ]


def test_the_lists_of_the_simulator() -> None:
    scenes = bench_tokens()
    frames = [name for scene in scenes for name in scene]
    expected = {}
    for percent, stride in STRIDES.items():
        by_scene = [name for scene in scenes[::stride] for name in scene]
        by_frame = frames[::stride]
        if stride > len(scenes):
            expected[f"sim_bench_{percent}_percent.txt"] = by_frame
        else:
            expected[f"sim_bench_{percent}_percent.txt"] = by_scene
            if stride > 1:
                expected[f"sim_bench_{percent}_percent_frames.txt"] = by_frame
    assert {path.name for path in SPLITS.glob("sim_bench_*")} == set(expected)
    for name, tokens in expected.items():
        assert read_tokens(SPLITS / name) == tokens, name
        comment = (SPLITS / name).read_text().splitlines()[0]
        assert comment.startswith(f"# {name.split('_')[2]} % of sim_train of the bench simulation (seed 0): ")
        assert comment.endswith(f", {len(tokens)} key frames")


def test_the_lists_of_nuscenes() -> None:
    splits = pytest.importorskip("nuscenes.utils.splits")
    assert {path.name for path in SPLITS.glob("nuscenes_*")} == {
        "nuscenes_1_percent_scenes_slidr.txt",
        *(f"nuscenes_{percent}_percent_scenes.txt" for percent in STRIDES),
    }
    sizes = []
    for percent, stride in STRIDES.items():
        names = read_tokens(SPLITS / f"nuscenes_{percent}_percent_scenes.txt")
        # The index has the scenes by name, so the rule "scenes" takes the same ones.
        assert names == sorted(splits.train)[::stride]
        sizes.append(len(names))
    assert sizes == [7, 35, 70, 140, 175, 350, 700]
    # SLidR's loader counts the scenes of the split from 1 and keeps those that 100 divides.
    counted = enumerate(sorted(splits.train), start=1)
    last = [name for count, name in counted if count % 100 == 0]
    assert read_tokens(SPLITS / "nuscenes_1_percent_scenes_slidr.txt") == last


def test_lists_of_an_index_are_its_fractions(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    written = {path.name: path for path in write_fraction_lists(index, "sim_train", tmp_path, "tiny", "it")}
    assert set(written) == {f"tiny_{p}_percent.txt" for p in PERCENTS} | {"tiny_50_percent_frames.txt"}
    for percent in PERCENTS:
        expected = label_fraction(index, "sim_train", percent)
        assert read_tokens(written[f"tiny_{percent}_percent.txt"]) == expected
    assert read_tokens(written["tiny_50_percent_frames.txt"]) == label_fraction(
        index, "sim_train", 50, "frames"
    )
    assert written["tiny_50_percent.txt"].read_text().startswith("# 50 % of it: every 2nd scene, 3 key")


def test_scenes_by_name(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    names = sorted({index[int(row)].scene for row in index.key_rows("sim_train")})
    lists = {path.name: path for path in write_scene_lists(names, tmp_path, "tiny", "it")}
    half = lists["tiny_50_percent_scenes.txt"]
    assert read_tokens(half) == names[:1]
    rows = rows_of_scenes(index, names[:1])
    assert [index[int(row)].token for row in rows] == label_fraction(index, "sim_train", 50, "scenes")
    dataset = build_dataset({"index": str(tiny_index), "scenes": str(half)}, Needs())
    assert [dataset[0, n].token for n in range(len(dataset))] == [index[int(row)].token for row in rows]
    with pytest.raises(DataError, match="1 of 2 scenes, the first 'scene-0001'"):
        rows_of_scenes(index, ["scene-0001", names[0]])
