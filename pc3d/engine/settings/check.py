"""Whether the settings of a config are those that there are, each of its type and in its range."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pc3d.engine.settings.expected import Field, Section, describe, fits, items_of, options, section_of
from pc3d.engine.settings.rules import Rule, rule_of

_SHOWN = 80


@dataclass(frozen=True)
class Fault:
    """What is wrong with one setting.

    Attributes:
        key: dotted. text: goes on after the key.
        known: the settings that there are in its place, where there is none of its name.
    """

    key: str
    text: str
    known: tuple[str, ...] = ()

    def suggestion(self, elsewhere: Mapping[str, str]) -> str:
        """Which setting may have been meant, there or `elsewhere` (keys by name); else all that are there."""
        if not self.known:
            return ""
        *path, name = self.key.split(".")
        close = get_close_matches(name, self.known, 1)
        meant = dotted(path, close[0]) if close else elsewhere.get(name)
        if meant and self.key.startswith(f"{meant}."):  # the section that it stands in
            meant = None
        return f"; did you mean `{meant}`?" if meant else f"; known: {', '.join(self.known)}"


def section_faults(
    section: Section, settings: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[Fault]:
    """What is wrong in a section and below it."""
    fields = section.fields(settings)
    if fields is None:  # what its `type` names is not known, and so nothing else is
        kind: Field = section.kind  # type: ignore[attr-defined]
        fields = dict.fromkeys(map(str, settings), Field(Any)) | {"type": kind}
    found = False
    for key, value in settings.items():
        if key not in fields:
            owner = section.owner(settings)
            text = f"is no {'setting' if path else 'section'}{owner and f' of {owner}'}"
            faults = [Fault(dotted(path, str(key)), text, tuple(sorted(fields)))]
        else:
            faults = list(value_faults(value, fields[key].expected, (*path, key)))
        found |= bool(faults)
        yield from faults
    for key, field in fields.items():
        if field.required and key not in settings:
            found = True
            yield Fault(
                dotted(path, key), f"is missing, expected {expectation(field.expected, (*path, key))}"
            )
    if not found:
        try:
            section.make(settings)
        except (ValueError, TypeError) as error:
            yield refused(".".join(path), settings, error)


def refused(key: str, settings: Mapping[str, Any], error: Exception) -> Fault:
    """The fault of a section that a constructor refuses, by the setting that the message names first."""
    text = re.sub(r": \w+\(.*\)$", "", str(error))  # without the whole of a dataclass
    words = re.findall(r"\w+", re.sub(r"\w+\([^)]*\)", "", text))  # what stands in brackets is a value
    name = next((word for word in words if word in settings), None)
    return Fault(f"{key}.{name}" if key and name else key, f"cannot be used: {text}")


def value_faults(value: Any, expected: Any, path: tuple[str, ...]) -> Iterator[Fault]:
    """What is wrong with a value and below it."""
    for option in options(expected):
        section, items = section_of(option), items_of(option)
        if section is not None and isinstance(value, Mapping):
            yield from section_faults(section, value, path)
            return
        each = section_of(items)
        if each is not None and isinstance(value, list | tuple) and value:
            for number, item in enumerate(value):
                yield from value_faults(item, each, (*path, str(number)))
            return
    rule = rule_of(path)
    right = any(fits(value, option) for option in options(expected))
    if not right or (rule is not None and rule.broken_by(value)):
        text = f"is {shown(value)}, expected {expectation(expected, path)}"
        yield Fault(".".join(path), text + _hint(value, expected))


def _hint(value: Any, expected: Any) -> str:
    """That a number is a text: YAML reads 1e-3 as one."""
    try:
        number = isinstance(value, str) and float in options(expected) and float(value)
    except ValueError:
        number = False
    return f"; it is a text: write {number:.1e} or {number}" if number else ""


def expectation(expected: Any, path: Sequence[str]) -> str:
    """What is expected of a setting, its range included."""
    rule: Rule | None = rule_of(path)
    own = tuple(option for option in options(expected) if option is not type(None))
    text = describe(own, rule.length if rule else None)
    if rule and rule.alone:  # "one of 18, 34" says the type by itself
        text = f"{text}, each {rule.text}" if any(map(items_of, own)) else rule.text
    elif rule:
        text = f"{text} {rule.text}"
    return text if len(own) == len(options(expected)) else f"{text}, or None"


def keys_by_name(section: Section, settings: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, str]:
    """Dotted key of every setting in and below a section by its name, those nearest to the top first."""
    fields = section.fields(settings) or {}
    found = {name: dotted(path, name) for name in fields}
    for name, field in fields.items():
        below = next(filter(None, map(section_of, options(field.expected))), None)
        if below is not None:
            inside = settings.get(name)
            inner = keys_by_name(below, inside if isinstance(inside, Mapping) else {}, (*path, name))
            found = inner | found
    return found


def dotted(path: Sequence[str], key: str) -> str:
    return ".".join((*path, key))


def shown(value: Any) -> str:
    """A value, at most a line of it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
