"""The Parquet index: what goes in comes out, and bad input is refused by name."""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.records import Boxes, Camera, Sweep
from pc3d.geometry.rigid import make_SE3, quaternion_to_matrix

META = {"dataset": "x", "root": "/tmp", "rebuild": "python data_prep/x.py ROOT --out INDEX"}

names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=8)
seeds = st.integers(0, 2**31)


def assert_same(a: object, b: object) -> None:
    assert type(a) is type(b)
    for field in fields(a):  # type: ignore[arg-type]
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype
        elif isinstance(x, Boxes):
            assert_same(x, y)
        elif field.name == "cameras":
            assert len(x) == len(y)
            for c, d in zip(x, y, strict=True):
                assert_same(c, d)
        else:
            assert x == y, field.name


@st.composite
def records(draw: st.DrawFn) -> list[Sweep]:
    """Scenes of random sweeps, some with cameras and boxes, some with none."""
    made: list[Sweep] = []
    for scene in range(draw(st.integers(1, 4))):
        for step in range(draw(st.integers(1, 40))):
            rng = np.random.default_rng(draw(seeds))
            pose = make_SE3(quaternion_to_matrix(rng.normal(size=4)), rng.normal(size=3))
            K = np.vstack([np.triu(rng.uniform(1, 9, (2, 3))), [0, 0, 1]])
            n = int(rng.integers(0, 3))
            boxes = Boxes(
                rng.normal(size=(n, 3)),
                rng.random((n, 3)),
                rng.normal(size=n),
                np.full((n, 2), np.nan),
                tuple("car" for _ in range(n)),
                tuple(draw(names) for _ in range(n)),
                rng.integers(-1, 9, n),
                tuple("" for _ in range(n)),
            )
            camera = Camera("CAM", Path("/tmp/a/ü.jpg"), (16, 9), K, pose, pose, 5, (0.1, -0.2))
            sweep = Sweep(
                token=f"{scene}-{step}-{draw(names)}",
                scene=f"scene-{scene}",
                timestamp=step // 2,
                is_key_frame=bool(rng.random() < 0.5),
                path=Path("/tmp/lidar.bin") if rng.random() < 0.5 else Path("/elsewhere/lidar.bin"),
                lidar_format="kitti",
                ego_SE3_lidar=pose,
                world_SE3_ego=pose,
                split=("train", "val")[scene % 2],
                cameras=(camera,) * int(rng.integers(0, 3)),
                boxes=boxes if rng.random() < 0.7 else None,
                lidarseg_path=Path("/tmp/seg.bin") if rng.random() < 0.5 else None,
                sample_token=draw(names),
            )
            made.append(sweep)
    return made


@settings(deadline=None, max_examples=10)
@given(records())
def test_what_goes_in_comes_out(made: list[Sweep]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        index = SweepIndex.open(write_index(Path(folder) / "index", iter(made), META))
        assert len(index) == len(made)
        for row, sweep in enumerate(made):
            assert_same(index[row], sweep)
            assert index.row_of(sweep.token) == row
        for split in ("train", "val"):
            expected = [i for i, s in enumerate(made) if s.is_key_frame and s.split == split]
            if expected:
                assert index.key_rows(split).tolist() == expected
        keys = [i for i, s in enumerate(made) if s.is_key_frame]
        assert index.key_rows(None).tolist() == keys
        for position, row in enumerate(keys):
            for step in (-1, 1):
                other = position + step
                same = 0 <= other < len(keys) and made[keys[other]].scene == made[row].scene
                assert index.neighbour(row, step) == (keys[other] if same else None)
        for row in range(len(made)):
            scene = [i for i, s in enumerate(made) if s.scene == made[row].scene]
            assert list(index.scene_rows(row)) == scene
            assert index.previous_sweeps(row, 3) == [i for i in range(row - 1, row - 4, -1) if i in scene]


def test_rows_are_plain_parquet_below_the_root(drive: SweepIndex) -> None:
    table = pq.read_table(drive.folder / "sweeps.parquet")
    assert table.num_rows == len(drive)
    assert table.column("path")[0].as_py() == "lidar/s0f0.bin"


def test_root_can_move(drive: SweepIndex, tmp_path: Path) -> None:
    moved = SweepIndex.open(drive.folder, root=tmp_path)
    assert moved[0].path == tmp_path / "lidar" / "s0f0.bin"
    with pytest.raises(DataError, match=r"root does not exist[\s\S]*root="):
        SweepIndex.open(drive.folder, root=tmp_path / "nowhere")


def test_a_pickle_is_a_path(drive: SweepIndex) -> None:
    drive[0]
    data = pickle.dumps(drive)
    assert len(data) < 1000
    assert_same(pickle.loads(data)[5], drive[5])


def test_many_parts(sweeps: list[Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pc3d.data.index_parts.ROWS_PER_GROUP", 4)
    monkeypatch.setattr("pc3d.data.index_parts.GROUPS_PER_PART", 2)
    root = sweeps[0].path.parents[1]
    index = SweepIndex.open(write_index(tmp_path / "i", sweeps, {**META, "root": str(root)}), cached_groups=1)
    assert len(list((tmp_path / "i" / "sweeps.parquet").iterdir())) == 3
    for row in np.random.default_rng(0).permutation(len(sweeps)):
        assert_same(index[row], sweeps[row])


def test_another_schema_names_the_command_that_rebuilds(drive: SweepIndex, tmp_path: Path) -> None:
    copy = tmp_path / "old"
    shutil.copytree(drive.folder, copy)
    metadata = json.loads((copy / "metadata.json").read_text())
    (copy / "metadata.json").write_text(json.dumps({**metadata, "schema_version": 0}))
    with pytest.raises(DataError, match=r"schema version 0[\s\S]*make drive"):
        SweepIndex.open(copy)


@pytest.mark.parametrize("name", ["tokens.npy", "key_rows.npy", "sweeps.parquet/part-00000.parquet"])
def test_a_broken_file_is_named(drive: SweepIndex, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "broken"
    shutil.copytree(drive.folder, copy)
    (copy / name).write_bytes(b"")
    index = SweepIndex.open(copy)
    with pytest.raises(DataError, match=r"index is broken[\s\S]*make drive"):
        (index.row_of("s0f0"), index.key_rows(), index[0])


def test_unknown_token_split_and_folder(drive: SweepIndex, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sweep has the token"):
        drive.row_of("nobody")
    with pytest.raises(DataError, match=r"'trian'[\s\S]*train"):
        drive.key_rows("trian")
    with pytest.raises(DataError, match="there is no index"):
        SweepIndex.open(tmp_path)
    with pytest.raises(IndexError):
        drive[len(drive)]


def test_the_writer_refuses_disorder_and_leaves_nothing(sweeps: list[Sweep], tmp_path: Path) -> None:
    a, b = sweeps[0], sweeps[1]
    other = replace(a, scene="other", token="o")
    for rows, message in (
        ([a, other, b], "comes in pieces"),
        ([b, a], "time goes backwards"),
        ([a, replace(b, token=a.token)], "same token"),
        ([], "no sweep to index"),
    ):
        with pytest.raises(DataError, match=message):
            write_index(tmp_path / "index", rows, META)
        assert list(tmp_path.iterdir()) == []


def test_a_failed_rebuild_keeps_the_old_index_and_a_folder_of_others_is_safe(
    sweeps: list[Sweep], tmp_path: Path
) -> None:
    folder = write_index(tmp_path / "index", sweeps, META)
    with pytest.raises(DataError):
        write_index(folder, [], META)
    assert len(SweepIndex.open(folder)) == len(sweeps)
    write_index(folder, sweeps[:2], META)
    assert len(SweepIndex.open(folder)) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="not an index"):
        write_index(tmp_path / "mine", sweeps, META)
    assert (tmp_path / "mine" / "thesis.txt").exists()
