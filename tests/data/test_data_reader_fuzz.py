"""Damaged files of drives end as the project's own error, with the file's name, or give values."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzed_containers import CONTAINERS
from fuzzed_formats import Sources
from mutations import spoiled

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex

MUTATIONS = 6


@pytest.mark.parametrize("name", CONTAINERS)
def test_damaged_drives(name: str, drive: SweepIndex, tmp_path: Path) -> None:
    kind = CONTAINERS[name]
    path = kind.make(tmp_path, Sources(tmp_path, drive))
    whole = path.read_bytes()
    assert kind.read(path)
    first = 100 * list(CONTAINERS).index(name)
    for number in range(first, first + MUTATIONS):
        path.write_bytes(spoiled(whole, number, kind.text))
        text = ""
        try:
            kind.read(path)
        except DataError as error:
            text = str(error)
        named = [path.name, *map(str, path.parents[:2])]
        assert not text or any(one in text for one in named), (number, text)
