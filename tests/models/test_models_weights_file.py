"""Weights on disk: equal content gives equal bytes, and no damage goes unnoticed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pc3d.data.errors import DataError
from pc3d.engine.checkpoints import load_encoder
from pc3d.models.weights import content_hash, load_backbone, read_metadata, read_weights, save_backbone
from pc3d.storage.whole import file_sha256

METADATA = {"lidar": '{"type": "MinkUNet"}', "note": "Gänse", "iterations": "12", "task": "", "z": "\n"}

SAVE = """
import sys, torch
from pc3d.models.weights import save_backbone
torch.manual_seed(3)
save_backbone(torch.nn.Linear(5, 4), sys.argv[1], {f"key {n}": str(n) for n in range(9)})
"""


def network() -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 4).to(torch.bfloat16))
    model.register_buffer("mask", torch.tensor([True, False]))
    model.register_buffer("none", torch.zeros(0, 3))
    return model


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        a.dtype == second[name].dtype and torch.equal(a, second[name]) for name, a in first.items()
    )


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    saved = [save_backbone(network(), tmp_path / f"{n}.safetensors", METADATA) for n in range(11)]
    turned = dict(reversed(METADATA.items()))
    saved.append(save_backbone(network(), tmp_path / "turned.safetensors", turned))
    assert {file_sha256(path) for path in tmp_path.iterdir()} == set(saved)
    assert len(set(saved)) == 1


def test_equal_bytes_in_every_process(tmp_path: Path) -> None:
    files = [tmp_path / seed for seed in ("0", "7")]
    for file in files:
        environment = {**os.environ, "PYTHONHASHSEED": file.name}
        subprocess.run([sys.executable, "-c", SAVE, str(file)], check=True, env=environment)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_tensors_and_metadata_come_back_and_other_readers_read_them(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_backbone(network(), path, METADATA)
    tensors, metadata = read_weights(path)
    assert metadata == read_metadata(path) == METADATA
    assert same(tensors, dict(network().state_dict()))
    from safetensors.torch import load_file

    assert same(load_file(path), tensors)


def test_content_hash_is_of_the_content(tmp_path: Path) -> None:
    def of(model: nn.Module, metadata: dict[str, str], name: str = "a") -> str:
        save_backbone(model, tmp_path / name, metadata)
        return content_hash(tmp_path / name)

    first = of(network(), METADATA)
    assert of(network(), METADATA, "other name") == first
    assert of(network(), {**METADATA, "iterations": "13"}) != first
    changed = network()
    changed[0].weight.data[0, 0] += 1
    assert of(changed, METADATA) != first
    renamed = nn.Sequential()
    for name, part in network().named_children():
        renamed.add_module(f"part{name}", part)
    assert of(renamed, METADATA) != first


def test_files_of_earlier_versions_load(tmp_path: Path) -> None:
    state = dict(network().state_dict())
    save_file(state, tmp_path / "old", metadata=METADATA)
    save_backbone(network(), tmp_path / "new", METADATA)
    tensors, metadata = read_weights(tmp_path / "old")
    assert metadata == read_metadata(tmp_path / "old") == METADATA
    assert same(tensors, state)
    assert load_backbone(network(), tmp_path / "old").complete
    assert content_hash(tmp_path / "old") == content_hash(tmp_path / "new")
    save_file(state, tmp_path / "bare")
    assert read_weights(tmp_path / "bare")[1] == {}


def or_refused(read: Callable[[Path], Any], path: Path) -> Any:
    """What `read` gives, or None where it says what is wrong, where, and what to do."""
    try:
        return read(path)
    except DataError as error:
        message = str(error)
    assert message.startswith(str(path))
    assert "remedy" in message
    return None


def damaged(path: Path, changes: list[Callable[[bytearray], None]]) -> tuple[int, int]:
    """How many changed files are refused, and how many are read and hold the same; all others fail."""
    whole, (tensors, metadata) = path.read_bytes(), read_weights(path)
    refused = 0
    for change in changes:
        content = bytearray(whole)
        change(content)
        path.write_bytes(content)
        assert or_refused(read_metadata, path) in (None, metadata)
        found = or_refused(read_weights, path)
        assert (found is None) == (or_refused(content_hash, path) is None)
        assert found is None or (same(found[0], tensors) and found[1] == metadata)
        refused += found is None
    path.write_bytes(whole)
    return refused, len(changes) - refused


def flip(bit: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content[bit // 8] ^= 1 << bit % 8

    return change


@pytest.mark.parametrize("tries", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_no_flipped_bit_goes_unnoticed(tmp_path: Path, tries: int) -> None:
    path = tmp_path / "a.safetensors"
    save_backbone(network(), path, METADATA)
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    rng = np.random.default_rng(tries)
    bits = [*range(64), *rng.integers(0, 8 * header, tries), *rng.integers(0, 8 * path.stat().st_size, tries)]
    refused, harmless = damaged(path, [flip(int(bit)) for bit in bits])
    assert harmless <= refused // 50  # such as the case of a hexadecimal digit of an escape


def test_cut_and_lengthened_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_backbone(network(), path, METADATA)
    rng = np.random.default_rng(0)

    def cut(length: int) -> Callable[[bytearray], None]:
        return lambda content: content.__delitem__(slice(length, None))

    cuts = [cut(int(length)) for length in (0, 1, 7, 8, 9, *rng.integers(10, path.stat().st_size, 60))]
    longer = [lambda content: content.extend(b"\0" * 8), lambda content: content.extend(b"}")]
    assert damaged(path, [*cuts, *longer])[1] == 0


@pytest.mark.parametrize(
    "content",
    [
        (1 << 62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (60_000).to_bytes(8, "little") + b"[" * 60_000,
        (10).to_bytes(8, "little") + b'{"a":null}',
        (58).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,4]}}',
    ],
)
def test_odd_headers_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    for read in (read_weights, read_metadata, content_hash, load_encoder):
        with pytest.raises(DataError, match=r"not a safetensors file[\s\S]*remedy"):
            read(path)


def test_unchecked_files_never_crash(tmp_path: Path) -> None:
    path = tmp_path / "old"
    save_file(dict(network().state_dict()), path, metadata={"lidar": "{}"})
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for bit in rng.integers(0, 8 * len(whole), 200):
        content = bytearray(whole)
        flip(int(bit))(content)
        path.write_bytes(content)
        or_refused(read_weights, path)


def test_a_file_that_is_not_there_is_no_damage(tmp_path: Path) -> None:
    for read in (read_weights, read_metadata, content_hash):
        with pytest.raises(FileNotFoundError, match="no backbone file"):
            read(tmp_path / "none")
