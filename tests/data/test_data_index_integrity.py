"""An index on disk: the same data give the same bytes, and no damage goes unnoticed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.index_schema import SCHEMA, sweep_to_row
from pc3d.data.records import Sweep

MAPS = ("tokens", "key_rows", "split_rows", "scene_starts", "sections")


@pytest.fixture
def index(sweeps: list[Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """21 rows in three parts of two groups of four rows."""
    monkeypatch.setattr("pc3d.data.index_parts.ROWS_PER_GROUP", 4)
    monkeypatch.setattr("pc3d.data.index_parts.GROUPS_PER_PART", 2)
    return build(tmp_path / "index", sweeps)


def build(folder: Path, sweeps: list[Sweep], **metadata: Any) -> Path:
    root = str(sweeps[0].path.parents[1])
    return write_index(folder, sweeps, {"dataset": "x", "root": root, "rebuild": "make index", **metadata})


def everything(folder: Path) -> str:
    """All that an index gives, as text: not-a-number equals itself there."""
    index = SweepIndex.open(folder)
    rows = [sweep_to_row(index[row], index.root) for row in range(len(index))]
    tokens = [index.row_of(row["token"]) for row in rows]
    scenes = [list(index.scene_rows(row)) for row in range(len(index))]
    splits = {split: index.key_rows(split).tolist() for split in index.splits}
    return repr((rows, tokens, scenes, splits, index.key_rows().tolist(), index.metadata))


def as_of_earlier_versions(folder: Path) -> None:
    """Take away what indexes of earlier versions do not have."""
    metadata = json.loads((folder / "metadata.json").read_text())
    for key in ("content", "maps", "metadata_sha256"):
        del metadata[key]
    (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / "sections.npy").unlink()
    for part in (folder / "sweeps.parquet").iterdir():
        pq.write_table(pq.read_table(part, schema=SCHEMA), part, row_group_size=4)


def flips_noticed(folder: Path, path: Path, bits: list[int]) -> int:
    """How many flipped bits are refused; the others must change nothing that the index gives."""
    whole, expected, noticed = path.read_bytes(), everything(folder), 0
    for bit in bits:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            found = everything(folder)
        except DataError as error:
            message = str(error)
            assert "remedy" in message
            assert str(folder) in message
            noticed += 1
        else:
            assert found == expected
    path.write_bytes(whole)
    return noticed


@pytest.mark.parametrize("tries", [12, pytest.param(1000, marks=pytest.mark.long)])
def test_no_flipped_bit_goes_unnoticed(index: Path, tries: int) -> None:
    rng = np.random.default_rng(tries)
    for path in sorted(path for path in index.rglob("*") if path.is_file()):
        bits = rng.integers(0, 8 * path.stat().st_size, tries).tolist()
        noticed = flips_noticed(index, path, bits)
        # A few of metadata.json are harmless, such as a newline that becomes another white space.
        assert noticed == tries or (path.name == "metadata.json" and noticed >= 0.95 * tries), path


def test_the_footer_is_checked_before_it_is_parsed(index: Path) -> None:
    part = index / "sweeps.parquet/part-00001.parquet"
    size = part.stat().st_size
    footer = 8 * np.arange(size - 300, size) + np.arange(300) % 8
    assert flips_noticed(index, part, footer[::3].tolist()) == 100


def test_a_flip_spoils_its_own_row_group_only(index: Path) -> None:
    sections = np.load(index / "sections.npy")
    part = index / "sweeps.parquet/part-00000.parquet"
    content = bytearray(part.read_bytes())
    content[int(sections["stop"][0]) + 100] ^= 4  # in the second row group
    part.write_bytes(content)
    opened = SweepIndex.open(index)
    assert [opened[row].token for row in (0, 3, 8)] == ["s0f0", "s0f3", "s1f1"]
    with pytest.raises(DataError, match="row group 1 does not have the hash"):
        opened[4]


def test_cut_and_exchanged_files_are_refused(index: Path) -> None:
    for path in [*index.glob("*.npy"), *(index / "sweeps.parquet").iterdir()]:
        whole = path.read_bytes()
        for length in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(DataError, match="index is broken"):
                everything(index)
        path.write_bytes(whole + b"\0")
        with pytest.raises(DataError, match="index is broken"):
            everything(index)
        path.write_bytes(whole)
    first, second = (index / f"sweeps.parquet/part-0000{n}.parquet" for n in (0, 1))
    shutil.copy(second, first)
    with pytest.raises(DataError, match="index is broken: part 0"):
        everything(index)


def test_metadata_changed_by_hand_is_refused(index: Path) -> None:
    path = index / "metadata.json"
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps(metadata))
    SweepIndex.open(index)  # laid out differently
    for change in ({"root": "/tmp"}, {"num_sweeps": 20}, {"maps": {}}):
        path.write_text(json.dumps({**metadata, **change}))
        with pytest.raises(DataError, match=r"metadata is broken[\s\S]*root="):
            SweepIndex.open(index)
    for key in ("content", "maps", "metadata_sha256"):
        path.write_text(json.dumps({k: v for k, v in metadata.items() if k != key}))
        with pytest.raises(DataError, match="metadata is broken"):
            SweepIndex.open(index)
    for text in ("[]", "{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(DataError, match="metadata is broken"):
            SweepIndex.open(index)


def test_parts_carry_page_checksums(index: Path) -> None:
    """Also without our hashes, a changed page is noticed by whoever asks for it."""
    part = index / "sweeps.parquet/part-00000.parquet"
    column = pq.ParquetFile(part).metadata.row_group(0).column(0)
    content = bytearray(part.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    part.write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(part, page_checksum_verification=True).read_row_group(0)


def test_indexes_of_earlier_versions_open(index: Path) -> None:
    before = everything(index).split("'content'")[0]
    as_of_earlier_versions(index)
    opened = SweepIndex.open(index)
    assert everything(index).startswith(before[: before.rindex("{")])
    first = opened.fingerprint
    assert first == SweepIndex.open(index, root=index).fingerprint
    tokens = np.load(index / "tokens.npy")
    np.save(index / "tokens.npy", tokens[::-1])
    assert opened.fingerprint != first


def test_the_same_data_give_the_same_bytes(sweeps: list[Sweep], index: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "again", list(sweeps))
    files = sorted(path.relative_to(index) for path in index.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for file in files:
        assert (index / file).read_bytes() == (again / file).read_bytes(), file


def test_the_fingerprint_is_of_the_data(sweeps: list[Sweep], index: Path, tmp_path: Path) -> None:
    first = SweepIndex.open(index).fingerprint
    root, moved = sweeps[0].path.parents[1], tmp_path / "moved"
    moved.mkdir()

    def at(path: Path | None) -> Path | None:
        return path and moved / path.relative_to(root)

    elsewhere = [
        replace(
            sweep,
            path=at(sweep.path),
            lidarseg_path=at(sweep.lidarseg_path),
            cameras=tuple(replace(camera, path=at(camera.path)) for camera in sweep.cameras),
        )
        for sweep in sweeps
    ]
    other = write_index(
        tmp_path / "b", elsewhere, {"dataset": "x", "root": str(moved), "rebuild": "make", "notes": ["moved"]}
    )
    assert SweepIndex.open(other).fingerprint == first
    shutil.copytree(index, tmp_path / "copy")
    assert SweepIndex.open(tmp_path / "copy", root=tmp_path).fingerprint == first
    changed = [*sweeps[:-1], replace(sweeps[-1], timestamp=sweeps[-1].timestamp + 1)]
    assert SweepIndex.open(build(tmp_path / "c", changed)).fingerprint != first
    assert SweepIndex.open(build(tmp_path / "d", sweeps, classes=None)).fingerprint != first


KILLED = """
import os, signal, sys
from pathlib import Path
from pc3d.data.index import SweepIndex, write_index
source = SweepIndex.open(sys.argv[1])
def rows():
    for row in range(len(source)):
        if row == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        yield source[row]
write_index(sys.argv[2], rows(), {"dataset": "x", "root": str(source.root), "rebuild": "make"})
"""


def test_what_a_killed_build_leaves_goes_with_the_next(
    sweeps: list[Sweep], index: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "index"
    done = subprocess.run([sys.executable, "-c", KILLED, str(index), str(folder)])
    assert done.returncode == -signal.SIGKILL
    assert [path.suffix for path in folder.parent.iterdir()] == [".partial"]
    build(folder, sweeps)
    assert list(folder.parent.iterdir()) == [folder]


def test_an_index_has_the_modes_of_the_umask(sweeps: list[Sweep], tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = build(tmp_path / "index", sweeps)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o640}
    assert folder.stat().st_mode & 0o777 == 0o750
