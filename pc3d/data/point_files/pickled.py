"""Pickles read as data: a tree of what they hold, of which nothing is imported, called or built.

`pickle.load` runs what a file says. Here each step of it (`pickletools.genops`) is only noted: which name,
called with what, given which state.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Name:
    """A global: of an allowed list, and not imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Made:
    """What a call of `maker` would give, and the state that it would then be set to."""

    maker: Any
    arguments: Any
    state: Any = None


class NotAllowed(ValueError):
    """A pickle names a global, or takes a step, that is not allowed."""


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PLAIN = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}


def read_pickle(content: bytes, allowed: Collection[tuple[str, str]]) -> Any:
    """The tree that a pickle holds: plain values, lists, tuples, dicts, `Name` and `Made`.

    Args:
        content: the pickle; what follows its end is not looked at.
        allowed: (module, name) of globals.

    Raises:
        NotAllowed: another global, or a step that frames of numbers and texts do not need.
        ValueError, IndexError, KeyError, TypeError: it is damaged.
    """
    return _Reading(allowed).run(content)


class _Reading:
    """The stack and the memory of a pickle that is read."""

    def __init__(self, allowed: Collection[tuple[str, str]]) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.memo: dict[Any, Any] = {}
        self.steps: dict[str, Callable[[], None]] = {
            "MARK": lambda: self.stack.append(_MARK),
            "EMPTY_TUPLE": lambda: self.stack.append(()),
            "EMPTY_LIST": lambda: self.stack.append([]),
            "EMPTY_DICT": lambda: self.stack.append({}),
            "TUPLE": lambda: self.stack.append(tuple(self._to_mark())),
            "TUPLE1": lambda: self._tuple(1),
            "TUPLE2": lambda: self._tuple(2),
            "TUPLE3": lambda: self._tuple(3),
            "LIST": lambda: self.stack.append(self._to_mark()),
            "DICT": lambda: self.stack.append(_pairs(self._to_mark())),
            "APPEND": lambda: self._append([self.stack.pop()]),
            "APPENDS": lambda: self._append(self._to_mark()),
            "SETITEM": lambda: self._set_items([self.stack.pop(-2), self.stack.pop()]),
            "SETITEMS": lambda: self._set_items(self._to_mark()),
            "POP": lambda: self._pop(),
            "REDUCE": lambda: self._make(),
            "NEWOBJ": lambda: self._make(),
            "BUILD": lambda: self._set_state(),
        }

    def run(self, content: bytes) -> Any:
        for step, argument, _ in pickletools.genops(content):
            name = step.name
            if name in self.steps:
                self.steps[name]()
            elif name in _PLAIN:
                self.stack.append(argument)
            elif name in _STRINGS:  # of Python 2: bytes
                self.stack.append(argument.encode("latin-1") if isinstance(argument, str) else argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _PUT or name == "MEMOIZE":
                self.memo[argument if name in _PUT else len(self.memo)] = self.stack[-1]
            elif name in _GET:
                self.stack.append(self.memo[argument])
            elif name in ("GLOBAL", "STACK_GLOBAL"):
                self.stack.append(self._name(argument))
            elif name not in ("PROTO", "FRAME", "STOP"):
                raise NotAllowed(f"it takes the step {name}")
        if len(self.stack) != 1:
            raise ValueError(f"it ends with {len(self.stack)} values")
        return self.stack[0]

    def _name(self, argument: str | None) -> Name:
        if argument is None:
            name, module = self.stack.pop(), self.stack.pop()
        else:
            module, _, name = argument.partition(" ")
        if not (isinstance(module, str) and isinstance(name, str)) or (module, name) not in self.allowed:
            raise NotAllowed(f"it names {f'{module}.{name}'[:120]}")
        return Name(module, name)

    def _to_mark(self) -> list[Any]:
        """What stands above the last mark, taken off with it."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("a mark is missing")
        taken = self.stack[at + 1 :]
        del self.stack[at:]
        return taken

    def _tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise ValueError("a value is missing")
        self.stack[-length:] = [tuple(self.stack[-length:])]

    def _pop(self) -> None:
        self.stack.pop()

    def _append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("values are added to what is no list")
        self.stack[-1].extend(values)

    def _set_items(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise ValueError("values are named in what is no dict")
        self.stack[-1].update(_pairs(values))

    def _make(self) -> None:
        arguments, maker = self.stack.pop(), self.stack.pop()
        if not isinstance(maker, Name) or not isinstance(arguments, tuple):
            raise ValueError("a call of what is no name")
        self.stack.append(Made(maker, arguments))

    def _set_state(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Made):
            raise ValueError("a state of what has none")
        self.stack[-1].state = state


def _pairs(values: list[Any]) -> dict[Any, Any]:
    """A dict of keys and values in turn; keys are texts, numbers or None."""
    keys = values[::2]
    if len(values) % 2 or not all(isinstance(key, str | int | float | None) for key in keys):
        raise ValueError("a dict with keys that are no texts")
    return dict(zip(keys, values[1::2], strict=True))
