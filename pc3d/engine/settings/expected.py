"""What a setting may be: a type annotation, a section of settings, or several of them.

Nothing here lists settings: a section takes them from the signature of what it is the arguments of.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from inspect import Parameter, isclass, signature
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pc3d.data.errors import DataError
from pc3d.data.plugins import Registry

_SEQUENCES = (list, tuple, Sequence)


@dataclass(frozen=True)
class Field:
    """A setting of a section: what it may be (a tuple: any of several), and whether it must be there."""

    expected: Any
    required: bool = False


class Section:
    """Settings by name."""

    def fields(self, settings: Mapping[str, Any]) -> dict[str, Field] | None:
        """The settings that there are, given some of them; None where these do not tell."""
        raise NotImplementedError

    def owner(self, settings: Mapping[str, Any]) -> str:
        """What they are the settings of, where it has a name."""
        return ""

    def make(self, settings: Mapping[str, Any]) -> None:
        """Look at them together.

        Raises:
            ValueError: they do not go together.
        """


@dataclass(frozen=True, eq=False)
class Group(Section):
    """Settings that are listed."""

    members: Mapping[str, Field]

    def fields(self, settings: Mapping[str, Any]) -> dict[str, Field]:
        return dict(self.members)


@dataclass(frozen=True, eq=False)
class Arguments(Section):
    """The arguments of a constructor.

    Attributes:
        build: the constructor. given: arguments that are no settings.
        nested: what arguments may be that stand in a config as a section. more: settings beside them.
    """

    build: Callable[..., Any]
    given: frozenset[str] = frozenset()
    nested: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Field] = field(default_factory=dict)

    def fields(self, settings: Mapping[str, Any]) -> dict[str, Field]:
        own = {name: f for name, f in arguments(self.build).items() if name not in self.given}
        for name in self.nested.keys() & own.keys():
            own[name] = Field(self.nested[name], own[name].required)
        return {**own, **self.more}

    def owner(self, settings: Mapping[str, Any]) -> str:
        return self.build.__name__

    def make(self, settings: Mapping[str, Any]) -> None:
        if is_dataclass(self.build) and not self.given:
            self.build(**settings)


@dataclass(frozen=True, eq=False)
class Name:
    """A name in a registry, or `module:Class`."""

    registry: Registry[Any]


@dataclass(frozen=True, eq=False)
class OneOf(Section):
    """The arguments of one of several constructors, which `type` names."""

    registry: Mapping[str, Callable[..., Any]]
    default: str | None = None
    given: frozenset[str] = frozenset()
    nested: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Field] = field(default_factory=dict)

    @property
    def kind(self) -> Field:
        """The setting `type`."""
        names: Any = Literal[tuple(self.registry)]
        own = Name(self.registry) if isinstance(self.registry, Registry) else names
        return Field(own, required=self.default is None)

    def fields(self, settings: Mapping[str, Any]) -> dict[str, Field] | None:
        try:
            build = self.registry.get(self.owner(settings))
        except (DataError, ImportError):  # `make` says it
            build = None
        if build is None:
            return None
        more = {**self.more, "type": self.kind}
        return Arguments(build, self.given, self.nested, more).fields(settings)

    def owner(self, settings: Mapping[str, Any]) -> str:
        return str(settings.get("type", self.default))

    def make(self, settings: Mapping[str, Any]) -> None:
        try:
            build = self.registry.get(self.owner(settings))
        except ImportError as error:  # what the user's own class needs
            raise ValueError(f"the type {self.owner(settings)}: {error}") from error
        if build is not None and is_dataclass(build) and not self.given:
            build(**{key: value for key, value in settings.items() if key != "type"})


@dataclass(frozen=True, eq=False)
class Named(Section):
    """Sections by names that are free."""

    each: Section

    def fields(self, settings: Mapping[str, Any]) -> dict[str, Field]:
        return {name: Field(self.each) for name in settings}


@dataclass(frozen=True, eq=False)
class ListOf:
    """A list of sections."""

    each: Section


@cache
def arguments(build: Callable[..., Any]) -> dict[str, Field]:
    """The arguments of a constructor by name, with their annotations."""
    whose = build if is_dataclass(build) or not isclass(build) else build.__init__  # type: ignore[misc]
    try:
        hints = get_type_hints(whose)
    except NameError:  # imported for a type checker only
        hints = {}
    return {
        name: Field(hints.get(name, Any), parameter.default is Parameter.empty)
        for name, parameter in signature(build).parameters.items()
        if parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    }


def options(expected: Any) -> list[Any]:
    """What a setting may be, one by one."""
    if isinstance(expected, tuple):
        return [option for one in expected for option in options(one)]
    if get_origin(expected) in (Union, types.UnionType):
        return [option for one in get_args(expected) for option in options(one)]
    return [type(None) if expected is None else expected]


def section_of(option: Any) -> Section | None:
    """The section that an option is."""
    if isinstance(option, Section):
        return option
    return Arguments(option) if isclass(option) and is_dataclass(option) else None


def items_of(option: Any) -> Any:
    """What each item of a list may be, None where an option is no list; of a fixed length, of its first."""
    if isinstance(option, ListOf):
        return option.each
    arguments = get_args(option)
    if option in _SEQUENCES or get_origin(option) in _SEQUENCES:
        return arguments[0] if arguments else Any
    return None


def length_of(option: Any) -> int | None:
    """The number of items of a list whose length is fixed."""
    arguments = get_args(option)
    return len(arguments) if get_origin(option) is tuple and Ellipsis not in arguments else None


def fits(value: Any, option: Any) -> bool:
    """Whether a value is of one option; a whole number is a number, True is none, a text is no list."""
    if option is Any:
        return True
    if isinstance(option, Name):
        return isinstance(value, str) and value in option.registry
    if get_origin(option) is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(option))
    items = items_of(option)
    if items is not None:
        if not isinstance(value, list | tuple) or length_of(option) not in (None, len(value)):
            return False
        return all(any(fits(item, one) for one in options(items)) for item in value)
    origin = get_origin(option) or option
    if isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and _entries_fit(value, get_args(option))
    if option in (int, float):
        return _is_number(value) and (option is float or isinstance(value, int))
    if option is Path:
        return isinstance(value, str | Path) and str(value).strip() != ""
    return isclass(origin) and isinstance(value, origin)


def _entries_fit(value: Mapping[Any, Any], of: tuple[Any, ...]) -> bool:
    """Whether keys and values are of their two types, where these are told."""
    pairs = [pair for entry in value.items() for pair in zip(entry, of or (Any, Any), strict=True)]
    return all(any(fits(part, option) for option in options(what)) for part, what in pairs)


def _is_number(value: Any) -> bool:
    """Whether it is finite; a whole number too where it is of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < (2**63 if isinstance(value, int) else math.inf)


_WORDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "True or False"),
    str: ("a text", "texts"),
    Path: ("a path", "paths"),
    type(None): ("None", "None"),
    Any: ("anything", "anything"),
}


def describe(expected: Any, length: int | None = None, many: bool = False) -> str:
    """What is expected, in words."""
    words = [_describe(option, length, many) for option in options(expected)]
    return " or ".join(dict.fromkeys(word for word in words if word))


def _describe(option: Any, length: int | None, many: bool) -> str:
    if option in _WORDS:
        return _WORDS[option][many]
    if isinstance(option, Name):
        return f"one of {', '.join(map(repr, option.registry))} or module:Class"
    if get_origin(option) is Literal:
        return f"one of {', '.join(map(repr, get_args(option)))}"
    items = items_of(option)
    if items is not None:
        count = length_of(option) or length
        return f"{count} {describe(items, many=True)}" if count else f"a list of {describe(items, many=True)}"
    origin = get_origin(option) or option
    if isclass(origin) and issubclass(origin, Mapping):
        of = get_args(option)
        return f"a dict of {describe(of[1], many=True)} by name" if of and of[1] is not Any else "a dict"
    return ("sections" if many else "a section (a dict of settings)") if section_of(option) else ""
