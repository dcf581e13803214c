"""`pc3d index`: which word is the root, which format it has, and what is said of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pc3d.data.errors import DataError
from pc3d.sim import writer
from pc3d.sim.sizes import SIZES, SimSize


def test_the_root_may_stand_anywhere(pc3d: Callable[..., None], tiny_nuscenes: Path, tmp_path: Path) -> None:
    where = ("--version", "v1.0-sim", "--out", "index")
    pc3d("index", *where, tiny_nuscenes, "--cameras", "none")
    facts = json.loads((tmp_path / "index" / "metadata.json").read_text())
    assert facts["dataset"] == "nuscenes"
    assert facts["rebuild"].startswith("pc3d index --version v1.0-sim --out index ")
    assert facts["rebuild"].endswith("--cameras none --format nuscenes")
    # The index that is there now is the value of an option, and no data set.
    pc3d("index", *where, tiny_nuscenes, "--no-sweeps")
    assert json.loads((tmp_path / "index" / "metadata.json").read_text())["dataset"] == "nuscenes"


def test_what_is_no_format(pc3d: Callable[..., None], tiny_nuscenes: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'nuscenes'"):
        pc3d("index", tiny_nuscenes, "--format", "nuscene", "--out", "index")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no format is recognised; the folder holds nothing"):
        pc3d("index", "empty", "--out", "index")
    with pytest.raises(DataError, match="name a folder: --out INDEX"):
        pc3d("index", tiny_nuscenes)
    with pytest.raises(SystemExit):
        pc3d("index", tiny_nuscenes, "--out", "index", "--versoin", "v1.0-sim")


def test_the_options_of_a_format_are_in_its_help(
    pc3d: Callable[..., None], tiny_nuscenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        pc3d("index", tiny_nuscenes, "--help")
    assert "options of the format nuscenes" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        pc3d("index", "--format", "waymo", "--help")
    assert "--lasers" in capsys.readouterr().out


def test_a_folder_and_a_split(
    pc3d: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "tiny", SimSize(1, 1, 1, sweeps_per_key_frame=1, image_size=(96, 54)))
    monkeypatch.setattr(writer, "write_dataset", partial(writer.write_dataset, workers=1))
    pc3d("folder", "example")
    pc3d("index", "example", "--out", "index")
    with pytest.raises(ValueError, match="say what to write"):
        pc3d("split", "index")
    pc3d("split", "index", "--val", "0.5", "--out", "lists", "--apply")
    facts = json.loads((tmp_path / "index" / "metadata.json").read_text())
    assert set(facts["key_frames"]) == {"train", "val"}
    pc3d("split", "index", "--check", "lists/train.txt", "lists/val.txt")
    with pytest.raises(DataError, match="not empty"):
        pc3d("folder", "example")


def test_a_reader_that_is_none(pc3d: Callable[..., None], tiny_nuscenes: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class NoInit:\n    def sweeps(self): ...\n")
    with pytest.raises(DataError, match=r"mine:NoInit is no reader: it has no __len__, an __init__"):
        pc3d("index", tiny_nuscenes, "--format", "mine:NoInit", "--out", "index")
    with pytest.raises(DataError, match="mien"):
        pc3d("index", tiny_nuscenes, "--format", "mien:NoInit", "--out", "index")
    with pytest.raises(ValueError, match=r"without \.py"):
        pc3d("index", tiny_nuscenes, "--format", "mine.py:NoInit", "--out", "index")
