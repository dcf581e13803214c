"""Label fractions by their published rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.splits import label_fraction, read_tokens, write_tokens

MakeIndex = Callable[[int, int], SweepIndex]


def test_fractions_of_the_simulator(make_index: MakeIndex) -> None:
    index = make_index(20, 20)
    five = label_fraction(index, "train", 5)
    assert five == [f"s000f{f:02d}" for f in range(20)]
    one = label_fraction(index, "train", 1)
    assert one == ["s000f00", "s005f00", "s010f00", "s015f00"]
    ten = label_fraction(index, "train", 10)
    assert sorted({token[:4] for token in ten}) == ["s000", "s010"]
    assert len(ten) == 40
    assert len(label_fraction(index, "train", 50)) == 200
    assert len(label_fraction(index, "train", 100)) == 400


def test_rules_by_name(make_index: MakeIndex) -> None:
    index = make_index(10, 4)
    assert label_fraction(index, "train", 10, rule="frames") == ["s000f00", "s002f02", "s005f00", "s007f02"]
    assert label_fraction(index, "train", 10, rule="scenes") == [f"s000f0{f}" for f in range(4)]
    assert label_fraction(index, "train", 10, rule="last_scenes") == [f"s009f0{f}" for f in range(4)]
    assert {t[:4] for t in label_fraction(index, "train", 20, rule="last_scenes")} == {"s004", "s009"}
    with pytest.raises(DataError, match="has 10"):
        label_fraction(index, "train", 1, rule="scenes")
    with pytest.raises(ValueError, match="unknown rule"):
        label_fraction(index, "train", 1, rule="magic")
    for percent in (0, -1, 101):
        with pytest.raises(ValueError, match="percent"):
            label_fraction(index, "train", percent)


def test_lists_come_back(tmp_path: Path) -> None:
    path = tmp_path / "train_5.txt"
    write_tokens(path, ["a", "b/c", "d"], "5 % of train, rule scenes")
    assert path.read_text().splitlines()[0] == "# 5 % of train, rule scenes"
    assert read_tokens(path) == ["a", "b/c", "d"]
    path.write_text("# nothing\n")
    with pytest.raises(DataError, match="empty"):
        read_tokens(path)
    path.write_text("a\na\n")
    with pytest.raises(DataError, match="twice"):
        read_tokens(path)
    path.write_text("a\nb\nc\nd\nb\nc\nd\na\n")
    with pytest.raises(DataError, match=r"4 of 4 tokens \('a', 'b', 'c', \.\.\.\) twice"):
        read_tokens(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_tokens(tmp_path / "none.txt")


def test_lists_of_other_editors(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("# ü\r\na\r\n\r\n  b \r\n".encode("utf-8-sig"))
    assert read_tokens(path) == ["a", "b"]
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        path.write_bytes("# ü\na\nb\n".encode(encoding))
        with pytest.raises(DataError, match=r"list.txt[\s\S]*UTF-8"):
            read_tokens(path)


def test_lists_of_other_data_sets(make_index: MakeIndex) -> None:
    index = make_index(2, 3)
    assert index.rows_of(["s001f00", "s000f02"]).tolist() == [3, 2]
    assert index.rows_of([]).tolist() == []
    with pytest.raises(DataError, match=r"no sweep has 2 of 3 tokens \('x', 'y'\)[\s\S]*this data set"):
        index.rows_of(["x", "s000f00", "y"])
