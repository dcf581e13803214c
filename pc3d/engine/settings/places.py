"""Where a setting stands: file and line."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

Lines = Iterator[tuple[str, int]]
"""Dotted keys and their lines; 0 where a file does not tell."""


def place_of(key: str, files: Sequence[Path]) -> str:
    """File and line where a setting stands, or the section that lacks it.

    Args:
        files: a config, which counts, before its bases.
    """
    written: dict[Path, dict[str, int]] = {}
    gone: list[str] = []  # sections that a file replaces: what its bases say of them counts no more
    for file in files:
        lines = {k: n for k, n in _lines(file) if not any(f"{k}.".startswith(f"{s}.") for s in gone)}
        gone += [k.removesuffix("._delete_") for k in lines if k.endswith("._delete_")]
        written[file] = lines
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        for file, lines in written.items():
            line = lines.get(".".join(parts[:length]))
            if line is not None:
                return f"{file}, line {line}" if line else str(file)
    return str(files[0])


def _lines(file: Path) -> Lines:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        yield from _of_values("", json.loads(text))
    elif file.suffix != ".py":
        yield from _of_yaml("", yaml.compose(text))
    else:
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield from _of_code(node.targets[0].id, node.value, node.lineno)


def _of_code(key: str, value: ast.expr, line: int) -> Lines:
    yield key, line
    inner: list[tuple[Any, ast.expr]] = []
    if isinstance(value, ast.Call):
        inner = [(keyword.arg, keyword.value) for keyword in value.keywords]
    elif isinstance(value, ast.Dict):
        inner = [(getattr(k, "value", None), v) for k, v in zip(value.keys, value.values, strict=True)]
    elif isinstance(value, ast.List | ast.Tuple):
        inner = list(enumerate(value.elts))
    for name, item in inner:
        yield from _of_code(f"{key}.{name}", item, item.lineno)


def _of_yaml(key: str, node: Any) -> Lines:
    if key:
        yield key, node.start_mark.line + 1
    inner: list[tuple[Any, Any]] = []
    if isinstance(node, yaml.MappingNode):
        inner = [(name.value, item) for name, item in node.value]
    elif isinstance(node, yaml.SequenceNode):
        inner = list(enumerate(node.value))
    for name, item in inner:
        yield from _of_yaml(f"{key}.{name}" if key else str(name), item)


def _of_values(key: str, value: Any) -> Lines:
    if key:
        yield key, 0
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield from _of_values(f"{key}.{name}" if key else str(name), item)
