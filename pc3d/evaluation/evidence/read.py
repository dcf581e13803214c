"""Study files: YAML to a `Study`, with one clear error for what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pc3d.data.errors import did_you_mean
from pc3d.engine.settings.shipped import shipped_folder
from pc3d.evaluation.evidence.description import Budget, FineTuning, Probes, Start, Study, World
from pc3d.sim.sizes import SIZES, SimSize

FOLDER = "studies"
T = TypeVar("T")


def study_file(name: str | Path) -> Path:
    """A file, or one of those that ship with pc3d by its name.

    Raises:
        FileNotFoundError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = {file.stem: file for file in sorted((shipped_folder() / FOLDER).glob("*.yaml"))}
    if str(name) not in known:
        near = did_you_mean(name, known)
        raise FileNotFoundError(f"no study file {path}{near}; pc3d ships with: {', '.join(known)}")
    return known[str(name)]


def read_study(name: str | Path) -> Study:
    """Read a study file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no YAML, or a setting is unknown, missing or wrong; with the file's name.
    """
    path = study_file(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return study_of(content, path.stem)
    except (yaml.YAMLError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no study: {error}") from error


def study_of(content: Any, name: str = "study") -> Study:
    """A study from the plain values of a study file.

    Raises:
        ValueError: a setting is unknown, missing or wrong.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"expected settings by name, got {type(content).__name__}")
    values = {"name": name, **content}
    _known(Study, values, "")
    if missing := [key for key in ("worlds", "starts", "seeds", "budget") if not values.get(key)]:
        raise ValueError(f"`{missing[0]}` is missing")
    values["worlds"] = tuple(_worlds(values["worlds"]))
    starts = _mapping(values["starts"], "starts")
    values["starts"] = tuple(_start(key, value) for key, value in starts.items())
    values["seeds"] = tuple(values["seeds"])
    values["budget"] = _made(Budget, values["budget"], "budget")
    for key, kind in (("probes", Probes), ("segmentation", FineTuning), ("detection", FineTuning)):
        if values.get(key) is not None:
            values[key] = _made(kind, values[key], key)
    return Study(**values)


def _worlds(given: Any) -> list[World]:
    if isinstance(given, Mapping):  # {seeds: [0, 1], size: study}
        if unknown := sorted(set(given) - {"seeds", "size"}):
            raise ValueError(f"worlds has no setting {unknown[0]!r}; known: seeds, size; or give a list")
        size = _size(given.get("size", "study"))
        return [World(f"world-{seed}", seed, size) for seed in given["seeds"]]
    if not isinstance(given, list):
        raise ValueError("`worlds` is a list of worlds, or `seeds` and `size` of simulated ones")
    return [_world(number, one) for number, one in enumerate(given)]


def _world(number: int, given: Any) -> World:
    where = f"worlds.{number}"
    values = dict(_mapping(given, where))
    _known(World, values, where)
    if values.get("index") and ("seed" in values or "size" in values):
        raise ValueError(f"{where} has an index, and a seed or size of a simulation: give one of them")
    if not values.get("index") and "seed" not in values:
        raise ValueError(f"{where} has neither `seed` of a simulation nor `index`, a folder")
    values.setdefault("name", f"world-{values['seed']}" if "seed" in values else Path(values["index"]).name)
    for key in ("index", "root", "regions"):
        if values.get(key) is not None:
            values[key] = Path(values[key])
    if "size" in values:
        values["size"] = _size(values["size"])
    return World(**values)


def _size(given: Any) -> str | SimSize:
    if isinstance(given, Mapping):
        _known(SimSize, given, "size")
        numbers: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return SimSize(**numbers)
    if given not in SIZES:
        raise ValueError(
            f"size {given!r} is not known{did_you_mean(given, SIZES)}; known: {', '.join(SIZES)}"
        )
    return str(given)


def _start(name: str, given: Any) -> Start:
    where = f"starts.{name}"
    values = dict(_mapping(given, where))
    _known(Start, values, where)
    if values.get("budget") is not None:
        values["budget"] = _made(Budget, values["budget"], f"{where}.budget")
    if values.get("backbone") is not None:
        values["backbone"] = Path(values["backbone"])
    if values.get("seeds") is not None:
        values["seeds"] = tuple(values["seeds"])
    return Start(**{**values, "name": name})


def _made(kind: type[T], given: Any, where: str) -> T:
    values = _mapping(given, where)
    _known(kind, values, where)
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _mapping(given: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError(f"`{where}` is {given!r}, expected settings by name")
    return given


def _known(kind: type, values: Mapping[str, Any], where: str) -> None:
    known = [field.name for field in fields(kind)]
    for key in values:
        if key not in known:
            place = f"`{where}` has" if where else "there is"
            raise ValueError(
                f"{place} no setting {key!r}{did_you_mean(key, known)}; known: {', '.join(known)}"
            )
