"""Models from plain configurations: `{"type": name, **constructor arguments}`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pc3d.data.errors import did_you_mean
from pc3d.geometry.grid import BevGrid

T = TypeVar("T")


def require_weight(**weights: float) -> None:
    """
    Raises:
        ValueError: all weights of the terms of a loss are 0.
    """
    if not any(weights.values()):
        raise ValueError(f"{', '.join(weights)} are all 0: nothing would be learned")


def build(config: Mapping[str, Any], registry: Mapping[str, Callable[..., T]], what: str) -> T:
    """Construct `registry[config["type"]]` with the other entries as arguments.

    An entry `grid` may be a `BevGrid` or a dictionary of its fields.

    Args:
        config: the configuration.
        registry: constructors by name.
        what: name of the kind of thing, for errors.

    Raises:
        ValueError: no type, an unknown type, or an unknown or missing argument; it names the known ones.
    """
    arguments = {key: value for key, value in config.items() if key != "type"}
    name = str(config.get("type"))
    if name not in registry:
        near = did_you_mean(name, registry)
        raise ValueError(f"unknown {what} type {name!r}{near}; known: {', '.join(sorted(registry))}")
    if isinstance(arguments.get("grid"), Mapping):
        arguments["grid"] = build({"type": "BevGrid", **arguments["grid"]}, {"BevGrid": BevGrid}, "grid")
    signature = inspect.signature(registry[name])
    unknown = sorted(set(arguments) - set(signature.parameters))
    if unknown:
        near, known = did_you_mean(unknown[0], signature.parameters), ", ".join(signature.parameters)
        raise ValueError(f"{what} {name} has no argument {', '.join(unknown)}{near}; known: {known}")
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{what} {name}: {error}") from None
    return registry[name](**arguments)
