"""Config files: Python in mmengine's form, read from the user's own tree only; YAML and JSON are data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from pc3d.engine.settings.check import Fault, keys_by_name, section_faults, shown
from pc3d.engine.settings.cross import ALTERNATIVES, cross_faults
from pc3d.engine.settings.files import cleaned, plain, read_files
from pc3d.engine.settings.options import Text, merged, override
from pc3d.engine.settings.places import place_of
from pc3d.engine.settings.sections import KINDS, ONLY_IN
from pc3d.engine.settings.shipped import config_file
from pc3d.engine.settings.trial import trial_faults

__all__ = ["config_file", "load_config", "plain"]


def load_config(path: str | Path, kind: str, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a config file and check every setting.

    Args:
        path: config file. kind: `pretrain` or `finetune`.
        overrides: dotted keys to values, or to `Text` as `--cfg-options` gives it.

    Raises:
        FileNotFoundError, ValueError: a missing file; wrong settings, all in one message, each with what is
            expected and where it stands.
    """
    settings, files = read_files(Path(path))
    overrides = overrides or {}
    settings = cleaned(override(KINDS[kind], _without_alternatives(settings, overrides), overrides))
    _check(settings, kind, files, overrides)
    return Config(settings)


def _without_alternatives(settings: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Where the overrides give one of two settings of which one is given, the file's own other is gone."""
    settings = dict(settings)
    for section, names in ALTERNATIVES.items():
        given = {name: overrides.get(f"{section}.{name}") for name in names}
        asked = [name for name, value in given.items() if str(value).lower() != "none"]
        if asked and isinstance(settings.get(section), dict):
            settings[section] = {k: v for k, v in settings[section].items() if k not in names or k in asked}
    return settings


def _check(settings: dict[str, Any], kind: str, files: list[Path], overrides: Mapping[str, Any]) -> None:
    faults = list(dict.fromkeys(faults_of(settings, kind)))
    if not faults:
        return
    elsewhere = keys_by_name(KINDS[kind], settings)
    lines = [
        f"  `{fault.key}` {fault.text}{fault.suggestion(elsewhere)} ({_where(fault.key, files, overrides)})"
        for fault in faults
    ]
    count = "1 wrong setting" if len(faults) == 1 else f"{len(faults)} wrong settings"
    raise ValueError("\n".join([f"{files[0]} has {count}:", *lines]))


def _where(key: str, files: list[Path], overrides: Mapping[str, Any]) -> str:
    for given, value in overrides.items():
        if f"{key}.".startswith(f"{given}.") or f"{given}.".startswith(f"{key}."):
            return "--cfg-options" if isinstance(value, Text) else "an override"
    return place_of(key, files)


def faults_of(settings: Mapping[str, Any], kind: str) -> Iterator[Fault]:
    """What is wrong with a config, as plain values."""
    other = next(name for name in KINDS if name != kind)
    theirs = [name for name in ONLY_IN[other] if settings.get(name)]
    if theirs and not any(settings.get(name) for name in ONLY_IN[kind]):
        yield Fault(theirs[0], f"is a section of `pc3d {other}`: run that with this config")
    elif settings.get("stages") is not None and kind == "pretrain":
        yield from _stage_faults(settings)
    else:
        yield from _init_stage(settings, "names a stage of this config, which has none: set `init.run`")
        yield from _own_faults(settings, kind)


def _init_stage(settings: Mapping[str, Any], text: str) -> Iterator[Fault]:
    """The fault of an `init.stage` outside of a stage, which nothing reads."""
    init = settings.get("init")
    if isinstance(init, Mapping) and init.get("stage") is not None:
        yield Fault("init.stage", text)


def _own_faults(settings: Mapping[str, Any], kind: str) -> Iterator[Fault]:
    faults = list(section_faults(KINDS[kind], settings))
    if all(fault.known for fault in faults):  # what there is of known settings is right
        faults += cross_faults(settings, kind)
    yield from faults
    yield from trial_faults(settings, kind, [fault.key for fault in faults])


def _stage_faults(settings: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong in each stage with what all share, by the key where it stands."""
    yield from _init_stage(
        settings, "is shared by all stages: set it in those that start from an earlier one"
    )
    if settings.get("objectives"):
        yield Fault("objectives", "stands beside `stages`: each stage has its own objectives")
    stages = settings["stages"]
    names: list[str] = []
    listed = isinstance(stages, list | tuple) and len(stages) > 0
    if not listed or not all(isinstance(stage, Mapping) for stage in stages):
        yield Fault("stages", f"is {shown(stages)}, expected a list of sections")
        return
    shared = {key: value for key, value in settings.items() if key not in ("stages", "objectives")}
    for number, stage in enumerate(stages):
        name = stage.get("name")
        if not isinstance(name, str) or not name or name in names or "/" in name or name in (".", ".."):
            yield Fault(
                f"stages.{number}.name", f"is {shown(name)}, expected a name of its own for each stage"
            )
        init = stage["init"] if isinstance(stage.get("init"), Mapping) else {}
        before = init.get("stage")
        if before is not None and init.get("run") is not None:
            yield Fault(f"stages.{number}.init.run", "and `init.stage` are both set: give one of them")
        if before is not None and before not in names:
            yield Fault(
                f"stages.{number}.init.stage", f"is {shown(before)}, expected a stage before it: {names}"
            )
        names.append(name)
        own = {key: value for key, value in stage.items() if key != "name"}
        for fault in _own_faults(merged(shared, own), "pretrain"):
            if fault.key in own and fault.known:
                fault = replace(fault, text="is no setting of a stage", known=(*fault.known, "name"))
            section = fault.key.split(".")[0]
            lacks = not _has(shared, fault.key) and section in {"objectives", *own}
            in_stage = _has(own, fault.key) or lacks
            yield replace(fault, key=f"stages.{number}.{fault.key}") if in_stage else fault


def _has(settings: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(settings, Mapping) or part not in settings:
            return False
        settings = settings[part]
    return True
