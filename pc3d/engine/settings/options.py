"""`--cfg-options KEY=VALUE`: settings as text, which becomes what the setting is when the config is known."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_origin

from pc3d.engine.settings.expected import Section, fits, items_of, options, section_of

HELP = (
    "override settings, for example schedule.epochs=5 data.batch_size=2 stages.0.optimizer.lr=1e-3. What a "
    "setting expects decides how its value is read: a path or a text is taken as it stands, with spaces, "
    "commas and brackets (quote it for the shell); a list is (1,2), [1,2] or 1,2; all else a Python value, "
    "or true, false, none"
)
_NAMES = {"none": None, "true": True, "false": False}


class Text(str):
    """A value as it was typed."""


class OptionsAction(argparse.Action):
    """Collect KEY=VALUE arguments.

    Raises:
        ValueError: an argument without `=` or without a key, or a key that is there twice.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        found = dict(getattr(namespace, self.dest, None) or {})
        for argument in values:
            key, equals, value = argument.partition("=")
            key = key.strip()
            if not equals or not all(key.split(".")):
                raise ValueError(
                    f"{option_string} {argument}: expected KEY=VALUE, for example data.batch_size=2; "
                    "quote a value that has spaces, and give the config before it"
                )
            if key in found:
                raise ValueError(f"{option_string} gives {key} twice: {found[key]!r} and {value!r}")
            found[key] = Text(value)
        setattr(namespace, self.dest, found)


def override(root: Section, settings: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others over them; a section is merged, unless it has `_delete_=True`.

    Args:
        root: of the settings. given: by dotted key, values or `Text`.

    Raises:
        ValueError: a key that leads through something that is no section and no list.
    """
    # What a `type` names decides what the other keys of its section expect.
    for key in sorted(given, key=lambda key: key.split(".")[-1] not in ("type", "task")):
        value, path = given[key], key.split(".")
        if isinstance(value, Text):
            value = read(value, expected_at(root, settings, path))
        settings = _put(settings, path, value, key)
    return settings


def expected_at(root: Section, settings: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What is expected at a dotted key, None where there is no such setting."""
    if path[0] == "stages" and len(path) > 2 and path[1].isdigit():
        stage = _child(settings.get("stages"), path[1]) or {}
        return expected_at(root, merged(settings, stage), path[2:])
    expected: Any = root
    value: Any = settings
    for part in path:
        below = None
        for option in options(expected):
            section, each = section_of(option), items_of(option)
            if section is not None:
                here = value if isinstance(value, Mapping) else {}
                field = (section.fields(here) or {}).get(part)
                below = below or (field and field.expected)
            elif each is not None and part.isdigit():
                below = below or each
        if below is None:
            return None
        expected, value = below, _child(value, part)
    return expected


def _child(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    return None


def read(text: str, expected: Any) -> Any:
    """A text as what is expected, see `HELP`; else as the Python value or the text that it is."""
    wanted, value = options(expected), _literal(text)
    if any(fits(value, option) for option in wanted if option not in (str, Path)):
        return value
    if str in wanted or Path in wanted:
        return str(value) if isinstance(value, str) else str(text)
    of_lists = [items_of(option) for option in wanted if items_of(option) is not None]
    if of_lists and isinstance(value, str):
        parts = _split(value)
        if len(parts) > 1 or value.strip()[:1] in ("[", "(") or _is_text(of_lists[0]):
            return [read(part, of_lists[0]) for part in parts]
    return str(value) if isinstance(value, str) else value


def _is_text(item: Any) -> bool:
    return item is str or get_origin(item) is Literal


def _literal(text: str) -> Any:
    """The Python value that a text is, else the text."""
    bare = text.strip()
    if bare.lower() in _NAMES:
        return _NAMES[bare.lower()]
    for kind in (int, float):
        try:
            return kind(bare)
        except ValueError:
            pass
    try:
        return ast.literal_eval(bare)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def _split(text: str) -> list[str]:
    """The items of a list in a text: what the commas outside of brackets part."""
    bare = text.strip()
    if bare[:1] + bare[-1:] in ("[]", "()"):
        bare = bare[1:-1]
    items, depth = [""], 0
    for letter in bare:
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            items.append("")
        else:
            items[-1] += letter
    return [item.strip() for item in items if item.strip()]


def merged(settings: Any, over: Any) -> Any:
    """Settings with others over them, section by section."""
    if not isinstance(over, Mapping):
        return over
    base = settings if isinstance(settings, Mapping) and not over.get("_delete_") else {}
    both = {key: merged(base.get(key), value) for key, value in over.items() if key != "_delete_"}
    return {**base, **both}


def _put(settings: Any, path: Sequence[str], value: Any, key: str) -> Any:
    if not path:
        return merged(settings, value)
    part, rest = path[0], path[1:]
    what = ".".join(key.split(".")[: -len(path)])
    if isinstance(settings, list | tuple):
        if not part.isdigit() or int(part) >= len(settings):
            raise ValueError(
                f"`{key}`: `{what}` is a list of {len(settings)}, and has no {part!r}: count from {what}.0"
            )
        items = list(settings)
        items[int(part)] = _put(items[int(part)], rest, value, key)
        return type(settings)(items)
    if settings is not None and not isinstance(settings, Mapping):
        raise ValueError(f"`{key}` is no setting: `{what}` is {settings!r}, no section")
    base = dict(settings or {})
    base[part] = _put(base.get(part), rest, value, key)
    return base
