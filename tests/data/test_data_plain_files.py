"""YAML and JSON that people write mean what they look like."""

from __future__ import annotations

from pathlib import Path

import pytest

from pc3d.data.errors import DataError
from pc3d.data.plain_files import read_plain


@pytest.mark.parametrize("number", ["017", "0x11", "1_7", "1:30", "-012"])
def test_numbers_that_are_read_in_several_ways(number: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(f"labels: {{{number}: car}}\n")
    with pytest.raises(DataError, match="plain decimal"):
        read_plain(path, "the class file")


def test_plain_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("{0: a, 17: b, -3: c, x: 1.5, y: [10, 2e3], z: '017'}")
    assert read_plain(path, "it") == {0: "a", 17: "b", -3: "c", "x": 1.5, "y": [10, "2e3"], "z": "017"}
    path.write_text("{a: 1, a: 2}")
    with pytest.raises(DataError, match="twice"):
        read_plain(path, "it")
