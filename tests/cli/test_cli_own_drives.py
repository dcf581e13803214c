"""`pc3d pretrain CONFIG --data ROOT`: what lacks is made, what is there is kept, and it is said."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_settings import NARROW, QUICK

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.engine.config import config_file, load_config
from pc3d.engine.own_drives import region_kinds
from pc3d.regions.cut import duration

Pc3d = Callable[..., None]
OPTIONS = ["--cfg-options", *QUICK, *NARROW]
PRC = ["pretrain", "sim_prc", "--workers", "1"]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return re.sub(r"\s+", " ", capsys.readouterr().out)


def test_index_and_regions_are_made_then_kept(
    pc3d: Pc3d, tiny_nuscenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*PRC, "--data", tiny_nuscenes, "--work-dir", "run"]
    pc3d(*command, "--prepare-only", *OPTIONS)
    text = said(capsys)
    assert f"index: {tiny_nuscenes} (nuscenes) is read into run/index" in text
    assert "regions: clusters of 6 of 6 key frames are cut into run/regions by 1 processes" in text
    assert not (tmp_path / "run/run.json").exists()
    index = SweepIndex.open(tmp_path / "run/index")
    train = {index[int(row)].token for row in index.key_rows("sim_train")}
    files = sorted((tmp_path / "run/regions").rglob("*.npz"))
    assert {file.name.split("-")[0] for file in files} == train  # and none of the validation split
    before = [file.stat().st_mtime_ns for file in [*files, tmp_path / "run/index/metadata.json"]]

    pc3d(*command, *OPTIONS)
    text = said(capsys)
    assert "index: run/index is there" in text
    assert "regions: clusters of all 6 key frames are in run/regions" in text
    assert "backbone: run/backbone.safetensors" in text
    assert [file.stat().st_mtime_ns for file in [*files, tmp_path / "run/index/metadata.json"]] == before

    files[0].unlink()  # as an interrupted run leaves it
    pc3d(*command, "--prepare-only", *OPTIONS)
    text = said(capsys)
    assert "regions: clusters of 1 of 6 key frames are cut" in text
    assert "clusters: 1 sweeps computed, 5 reused" in text


def test_a_split_that_the_data_has_not_is_replaced_and_said(
    pc3d: Pc3d, tiny_nuscenes: Path, tiny_index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = [*PRC, "--data", tiny_nuscenes, "--index", tiny_index, "--regions", "regions", "--prepare-only"]
    pc3d(*base, "--cfg-options", *QUICK, *NARROW, "data.split=sim_val")
    assert "clusters of 3 of 3 key frames" in said(capsys)
    (tmp_path / "mine.py").write_text('_base_ = "pc3d::pretrain/sim_prc.py"\ndata = dict(split="train")\n')
    pc3d(base[0], "mine.py", *base[2:], *OPTIONS)
    text = said(capsys)
    assert "the index has no split 'train' (it has sim_train, sim_val): 'sim_train' is taken" in text
    assert "of 6 of 6 key frames" in text
    with pytest.raises(DataError, match="no key frame is in split 'sim_trian'; did you mean 'sim_train'"):
        pc3d(*base, "--cfg-options", *QUICK, *NARROW, "data.split=sim_trian")


def test_what_cannot_be_is_refused_before_any_work(
    pc3d: Pc3d, tiny_nuscenes: Path, tiny_index: Path, tmp_path: Path
) -> None:
    data = ["--data", tiny_nuscenes]
    with pytest.raises(DataError, match="names data sets of its own"):
        pc3d("pretrain", "real_joint", *data)
    with pytest.raises(ValueError, match=r"--prepare-only goes with --data ROOT"):
        pc3d(*PRC[:2], "--prepare-only")
    with pytest.raises(DataError, match=rf"index is of another data set: {tiny_nuscenes}"):
        pc3d(*PRC, "--data", tmp_path, "--index", tiny_index)
    with pytest.raises(DataError, match=r"several processes would make them[\s\S]*--prepare-only"):
        pc3d(*PRC, *data, "--launcher", "pytorch")
    with pytest.raises(DataError, match="does not exist"):
        pc3d(*PRC, "--data", tmp_path / "nothing")
    two = tmp_path / "two"
    for name in ("v1.0-a", "v1.0-b"):
        (two / name).mkdir(parents=True)
        (two / name / "sample_data.json").write_text("[]")
    with pytest.raises(DataError, match=r"several version folders: v1\.0-a, v1\.0-b"):
        pc3d(*PRC, "--data", two)
    with pytest.raises(ValueError, match=r"`optimizer\.lr` is '?-1"):
        pc3d(*PRC, *data, "--cfg-options", "optimizer.lr=-1")
    assert not (tmp_path / "work_dirs").exists()


def test_the_regions_are_those_of_all_stages_with_the_parameters_of_the_config() -> None:
    kinds = region_kinds(load_config(config_file("sim_seal"), "pretrain"))
    assert [sorted(one) for one in kinds] == [["superpixels", "tracks"]]
    assert kinds[0]["superpixels"].width == 448  # type: ignore[union-attr]
    assert [sorted(one) for one in region_kinds(load_config(config_file("sim_calico"), "pretrain"))] == [
        ["clusters"]
    ]
    assert region_kinds(load_config(config_file("sim_pointcontrast"), "pretrain")) == []
    oracle = region_kinds(load_config(config_file("sim_slidr_oracle"), "pretrain"))
    assert oracle[0]["semantics"].source == "oracle"  # type: ignore[union-attr]


@pytest.mark.long
def test_it_goes_on_after_a_kill_while_regions_are_cut(tiny_nuscenes: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pc3d",
        *PRC,
        "--data",
        str(tiny_nuscenes),
        "--work-dir",
        "run",
        "--resume",
    ]
    first = subprocess.Popen([*command, *OPTIONS], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not any((tmp_path / "run").rglob("*.npz")) and time.monotonic() < until and first.poll() is None:
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    _, text = first.communicate(timeout=60)
    assert first.returncode == 143, text
    assert text.rstrip().endswith("stopped by SIGTERM: what is done is kept; the same command goes on")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.npz")}
    assert kept
    done = subprocess.run([*command, *OPTIONS], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "index: run/index is there" in done.stdout
    assert (tmp_path / "run/finished.json").exists()
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 seconds"), (45, "45 seconds"), (91, "1.5 minutes"), (5400, "1.5 hours"), (200000, "2.3 days")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
