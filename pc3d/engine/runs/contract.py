"""What a run is: its settings with their defaults, and the content of what it reads, by dotted key.

Two runs with the same contract have the same weights after the same number of steps. What changes nothing of
that (workers, intervals, where files lie) is not in it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pc3d.data.errors import fail

Contract = dict[str, Any]
LENGTH = "schedule.iterations"
"""The one setting that may grow: the schedule is that of the new length."""


def plain_value(value: Any) -> Any:
    """A setting as JSON has it: tuples as lists, dataclasses as dictionaries."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain_value(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return str(value)


def flat(settings: Mapping[str, Any], prefix: str = "") -> Contract:
    """Nested settings by dotted key; lists stay whole, but for lists of settings."""
    result: Contract = {}
    for key, value in settings.items():
        value = plain_value(value)
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, dict) and value:
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def with_defaults(settings: Mapping[str, Any], build: Callable[..., Any] | None) -> dict[str, Any]:
    """The settings and the defaults of whatever they are the arguments of."""
    if build is None:
        return dict(settings)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(build).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {**defaults, **settings}


def content(data: bytes) -> str:
    """How the content of a file stands in a contract."""
    return f"content {hashlib.sha256(data).hexdigest()[:16]}"


def file_content(path: str | Path) -> str:
    """`content` of a small file.

    Raises:
        DataError: there is no such file.
    """
    try:
        return content(Path(path).read_bytes())
    except OSError as error:
        fail(f"cannot be read: {error.strerror}", path, "name a file that is there")


def part_hashes(contract: Contract) -> dict[str, str]:
    """SHA-256 of each part (`data`, `lidar`, `optimizer`, ...) of a contract."""
    parts: dict[str, Contract] = {}
    for key, value in contract.items():
        parts.setdefault(key.split(".")[0], {})[key] = value
    return {
        part: hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        for part, settings in sorted(parts.items())
    }


_ABSENT = "not set"


def differences(then: Contract, now: Contract) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, with their value then and now; more steps are no difference."""
    found = {}
    for key in sorted({*then, *now}):
        before, after = then.get(key, _ABSENT), now.get(key, _ABSENT)
        longer = key == LENGTH and before != _ABSENT and after != _ABSENT and after >= before
        if before != after and not longer:
            found[key] = (before, after)
    return found


def _covers(allowed: str, key: str) -> bool:
    return key == allowed or key.startswith(f"{allowed}.")


def refuse(
    folder: Path, what: str, then: Contract, now: Contract, allowed: Iterable[str] = ()
) -> tuple[str, ...]:
    """Refuse to go on with a run of other settings.

    Args:
        what: is gone on with, for the message.
        allowed: settings or sections that may differ.

    Returns:
        The allowed ones that do differ.

    Raises:
        DataError: with each key that differs, its value then and now.
    """
    allowed = list(allowed)
    unknown = [a for a in allowed if not any(_covers(a, key) for key in {*then, *now})]
    if unknown:
        sections = sorted({key.split(".")[0] for key in {*then, *now}})
        fail(f"--allow-change {' '.join(unknown)}: no such setting", folder, f"known: {', '.join(sections)}")
    found = differences(then, now)
    other = {key: pair for key, pair in found.items() if not any(_covers(a, key) for a in allowed)}
    if other:
        lines = "".join(f"\n    {key}: {_short(a)} then, {_short(b)} now" for key, (a, b) in other.items())
        fail(
            f"{what} was trained with other settings:{lines}",
            folder,
            f"set them back, name another --work-dir, or accept them: --allow-change {' '.join(other)}",
        )
    return tuple(found)


def _short(value: Any) -> str:
    text = value if value == _ABSENT else json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
