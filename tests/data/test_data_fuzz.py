"""Damaged files end as the project's own error, with the file's name, or give values that make sense."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzed_drives import DRIVES
from fuzzed_formats import FILES, Sources
from fuzzed_point_files import POINT_FILES
from fuzzed_roots import ROOTS
from mutations import BINARY, TEXT, spoiled

from pc3d.data.index import SweepIndex
from pc3d.storage import disk

FORMATS = {**ROOTS, **DRIVES, **FILES, **POINT_FILES}
MUTATIONS = [range(18), pytest.param(range(18, 50), marks=pytest.mark.long)]
"""Numbers of the mutations; the first 18 have every kind of damage."""
ROOM = 3 << 30


def test_the_first_numbers_have_every_kind_of_damage() -> None:
    assert max(len(BINARY), len(TEXT)) <= 18


@pytest.fixture(scope="module")
def sources(tiny_nuscenes: Path, drive: SweepIndex) -> Sources:
    return Sources(tiny_nuscenes, drive)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever asks for terabytes is refused them; and nobody waits for the disk."""
    monkeypatch.setattr(disk, "sync", lambda file: None)
    monkeypatch.setattr(disk, "sync_folder", lambda folder: None)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def leaves(value: Any) -> list[Any]:
    """All plain values and arrays of what a reader gave."""
    if isinstance(value, torch.Tensor):
        return [value.detach().numpy()]
    if is_dataclass(value) and not isinstance(value, type):
        return [leaf for f in fields(value) for leaf in leaves(getattr(value, f.name))]
    if isinstance(value, dict):
        return [leaf for item in (*value.keys(), *value.values()) for leaf in leaves(item)]
    if isinstance(value, list | tuple | set):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def plausible(value: object) -> bool:
    """Unknown velocities and the like are not a number; nothing else is."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.shape[-1:] == (2,) or bool((np.abs(value) < 1e9).all())
    return not isinstance(value, float) or abs(value) < 1e9


@pytest.mark.parametrize("numbers", MUTATIONS, ids=["first", "more"])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.usefixtures("little_memory")
def test_fuzzed_files(name: str, numbers: range, sources: Sources, tmp_path: Path) -> None:
    kind = FORMATS[name]
    path = kind.make(tmp_path / "sound", sources)
    whole = path.read_bytes()
    kind.read(path)
    for number in numbers:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(spoiled(whole, number, kind.text))
        try:
            found = kind.read(path)
        except ValueError as error:
            text = str(error)
            named = [path.name, *(map(str, path.parents[:2]) if kind.folder else ())]
            assert any(name in text for name in named), (number, text)
        else:
            assert all(plausible(leaf) for leaf in leaves(found)), number
