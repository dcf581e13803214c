"""Config files: Python in mmengine's form, read from the user's own tree only; YAML and JSON are data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config, ConfigDict
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import YamlHandler

from pc3d.data.errors import fail


class _PlainLoader(yaml.SafeLoader):
    """Plain values, and the tuples that `Config.dump` writes."""


_PlainLoader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


@register_handler(["yaml", "yml"])
class SafeYamlHandler(YamlHandler):
    """Plain values only: mmengine's own one builds whatever Python object a tag names."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        return yaml.load(file, _PlainLoader)


SECTIONS: dict[str, set[str]] = {
    "pretrain": {
        "data",
        "lidar",
        "image",
        "camera",
        "objectives",
        "shared_heads",
        "init",
        "frozen",
        "expected_losses",
        "stages",
    },
    "finetune": {"task", "data", "lidar", "image", "camera", "network", "init", "head"},
}
SHARED = {"optimizer", "schedule", "runtime", "seed", "work_dir", "launcher"}


def load_config(path: str | Path, kind: str, overrides: dict[str, Any] | None = None) -> Config:
    """Read a config file and check its top level.

    Args:
        path: config file. kind: `pretrain` or `finetune`.
        overrides: dotted keys to values (`--cfg-options data.batch_size=2`).

    Raises:
        FileNotFoundError, ValueError: a missing file, an unknown or a missing section, YAML with tags.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no config at {path}; the ones that ship with pc3d are in configs/")
    try:
        config = Config.fromfile(str(path), import_custom_modules=False)
    except yaml.YAMLError as error:
        fail(
            f"the config is no plain YAML: {error}", path, "write plain values; code belongs in a .py config"
        )
    if overrides:
        config.merge_from_dict(overrides)
        _one_length(config, overrides)
    known = SECTIONS[kind] | SHARED
    unknown = sorted(set(config) - known)
    if unknown:
        raise ValueError(f"{path}: unknown section {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    required = {"data", "optimizer", "schedule"}
    if config.get("image") is None or kind == "pretrain":
        required.add("lidar")
    if kind == "pretrain" and "stages" not in config:
        required.add("objectives")
    missing = sorted(required - set(config))
    if missing:
        raise ValueError(f"{path}: section {', '.join(missing)} is missing")
    return config


def _one_length(config: Config, overrides: dict[str, Any]) -> None:
    """Where the overrides give a run another length, in epochs or in steps, the file's own is gone."""
    for asked, other in (("epochs", "iterations"), ("iterations", "epochs")):
        if f"schedule.{asked}" in overrides and f"schedule.{other}" not in overrides:
            config.schedule.pop(other, None)


def plain(section: Any) -> Any:
    """A config section as plain dicts and lists."""
    if isinstance(section, Config | ConfigDict | dict):
        return {key: plain(value) for key, value in section.items()}
    if isinstance(section, list | tuple):
        return type(section)(plain(value) for value in section)
    return section
