"""YAML and JSON that people write: a key that is there twice is an error, where parsers take the last."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pc3d.data.errors import DataError

_DECIMAL = re.compile(r"[-+]?(0|[1-9]\d*)")
_NO_KEY = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")


class _OneOfEach(yaml.SafeLoader):
    """Refuses a mapping that has a key twice."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)  # type: ignore[no-untyped-call]
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag in _NO_KEY:
                continue
            name = self.construct_object(key)  # type: ignore[no-untyped-call]
            if isinstance(name, Hashable) and name in seen:
                where = f"line {key.start_mark.line + 1}"
                raise yaml.YAMLError(f"the key {key.value!r} is there twice, again in {where}")
            seen.add(name)
        return node


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """A whole number; YAML 1.1 takes 017 for 15 and 1:30 for 90, which nobody means here."""
    if not _DECIMAL.fullmatch(node.value):
        where = f"line {node.start_mark.line + 1}"
        raise yaml.YAMLError(
            f"the number {node.value} in {where} is read in several ways: write a plain decimal, or quote it"
        )
    return int(node.value)


_OneOfEach.add_constructor("tag:yaml.org,2002:int", _decimal)


def _one_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def read_plain(path: Path, what: str) -> Any:
    """The values of a `.json`, or of a YAML file.

    Args:
        what: the file is, for the message.

    Raises:
        DataError: it cannot be read, or has a key twice; says which.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return json.loads(text, object_pairs_hook=_one_of_each)
        return yaml.load(text, Loader=_OneOfEach)  # a SafeLoader
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{what} cannot be read: {said}\n  where: {path}\n  remedy: mend it") from error
