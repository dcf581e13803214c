"""docs/reliability.md has a row for each fault that is tried, and none for one that is not."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from harness import REPOSITORY, Fault

WHEN = {"indexing", "regions", "start", "first steps", "frame", "end"}


def faults() -> list[Fault]:
    """Those of every module beside this one."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("test_faults_*.py"))
    modules = [importlib.import_module(name) for name in names if name != Path(__file__).stem]
    lists = [value for module in modules for value in vars(module).values() if isinstance(value, list)]
    # By identity: a list may be made of others.
    found = {id(fault): fault for listed in lists for fault in listed if isinstance(fault, Fault)}
    return list(found.values())


def rows() -> list[tuple[str, str, int]]:
    """Fault, when it is said, exit code of each row of the table."""
    text = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = text.partition("## Faults")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (.+?) \| ([a-z ]+) \| (\d+) \| .+ \|$", section, re.MULTILINE)
    return [(name, when, int(code)) for name, when, code in found]


def test_the_table_has_each_fault() -> None:
    tried = [(fault.name, fault.when, fault.code) for fault in faults()]
    assert len(tried) == len({name for name, *_ in tried}) >= 40
    assert {when for _, when, _ in tried} <= WHEN
    assert sorted(rows()) == sorted(tried)
