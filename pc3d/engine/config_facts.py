"""What a config needs and costs, for a person who chooses one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from pc3d.data.batch import ID_KINDS, Needs
from pc3d.engine.config import load_config, plain
from pc3d.engine.costs.shipped import cost_lines, read_costs
from pc3d.engine.pretrainer import objective_needs
from pc3d.engine.settings.files import cleaned, read_files
from pc3d.engine.settings.sections import ONLY_IN
from pc3d.engine.settings.shipped import shipped_configs, shipped_folder
from pc3d.engine.stages import stage_configs
from pc3d.models.lidar import build_lidar_encoder
from pc3d.storage.whole import read_json

STEPS = "step_seconds.json"
"""Of the shipped folder: seconds of a step by config, as docs/results/training-steps.md has them, and how."""
_TASKS = {"lidarseg": "point labels", "detection": "boxes", "map": "map"}


@dataclass(frozen=True)
class ConfigFacts:
    """What a config is.

    Attributes:
        kind: `pretrain` or `finetune`. about: the comment that the file begins with.
        needs: what its data must have. regions: kinds of `pc3d regions`.
        parameters: of the LiDAR encoder, None where there is none.
        step_seconds: measured, by stage; empty where not measured.
    """

    kind: str
    about: str
    needs: tuple[str, ...]
    regions: tuple[str, ...]
    parameters: int | None
    step_seconds: Mapping[str, float]

    @property
    def needs_text(self) -> str:
        return ", ".join([*self.needs, *([f"regions: {' '.join(self.regions)}"] if self.regions else [])])

    @property
    def parameters_text(self) -> str:
        if self.parameters is None:
            return "none"
        return f"{self.parameters / 1e6:.2f} M weights"

    @property
    def step_text(self) -> str:
        times = [f"{stage} {seconds} s".strip() for stage, seconds in self.step_seconds.items()]
        return ", ".join(times) or "not measured"


def kind_of_file(path: Path) -> str:
    """`pretrain` or `finetune`, by the sections that the file has."""
    return _kind(read_files(path)[0])


def _kind(settings: Mapping[str, Any]) -> str:
    return "pretrain" if any(settings.get(name) for name in ONLY_IN["pretrain"]) else "finetune"


def facts_of_file(path: Path) -> ConfigFacts:
    """What a config file needs and costs; its settings are not checked.

    Raises:
        DataError: it cannot be read.
    """
    settings, _ = read_files(path)
    return facts_of(Config(cleaned(settings)), path)


def facts_of(config: Config, path: Path) -> ConfigFacts:
    """What a config needs and costs that was read from a file."""
    kind = _kind(config)
    needs = _pretrain_needs(config) if kind == "pretrain" else _finetune_needs(config)
    lidar = plain(config.get("lidar"))
    return ConfigFacts(
        kind,
        _about(path),
        tuple(_words(needs, config)),
        tuple(ID_KINDS[name] for name in needs.ids),
        _parameters(json.dumps(lidar, sort_keys=True)) if lidar else None,
        _step_seconds(path),
    )


def shown(path: Path, overrides: Mapping[str, Any] | None = None) -> str:
    """The effective config as a file, with what it needs and costs as comments."""
    kind = kind_of_file(path)
    config = load_config(path, kind, overrides)
    facts = facts_of(config, path)
    if overrides:
        facts = replace(facts, step_seconds={})
    how = read_json(shipped_folder() / STEPS)["how"] if facts.step_seconds else ""
    lines = [
        *facts.about.splitlines(),
        f"needs: {facts.needs_text}",
        f"LiDAR encoder: {facts.parameters_text}",
        f"a step: {facts.step_text}{f' ({how})' if how else ''}",
        *_cost_lines(path, bool(overrides)),
        f"run it: pc3d {facts.kind} CONFIG",
    ]
    return "\n".join(f"# {line}" for line in lines) + "\n" + Config(plain(config)).pretty_text


def _pretrain_needs(config: Config) -> Needs:
    stages = list(stage_configs(config).values()) if config.get("stages") else [config]
    needs = objective_needs(plain(stages[0].objectives))
    for stage in stages[1:]:
        needs |= objective_needs(plain(stage.objectives))
    return needs


def _finetune_needs(config: Config) -> Needs:
    task = config.get("task", "lidarseg")
    wanted = {"labels": task == "lidarseg", "boxes": task == "detection", "maps": task == "map"}
    return Needs(images=config.get("image") is not None, **wanted)


def _words(needs: Needs, config: Config) -> list[str]:
    """What the data must have, in words."""
    times = sorted(name for name in needs.frames if name.startswith("t") and name != "t")
    plain_sweeps = "dense" in needs.frames or config.data.get("sweeps", 1) > 1
    words = {
        "LiDAR": config.get("lidar") is not None,
        "images": needs.cameras,
        f"key frames {' '.join(times)}": bool(times),
        "sweeps between key frames": plain_sweeps,
        _TASKS["lidarseg"]: needs.labels,
        _TASKS["detection"]: needs.boxes or bool(config.data.get("balance")),
        _TASKS["map"]: needs.maps,
        "pasted objects (pc3d objects)": bool(config.data.get("paste")),
        "the simulator's labels": needs.semantics and _source(config) == "oracle",
    }
    return [word for word, wanted in words.items() if wanted]


def _source(config: Config) -> str | None:
    """Where semantic ids come from."""
    return (config.data.get("semantic_params") or {}).get("source")


@cache
def _parameters(lidar: str) -> int:
    with torch.device("meta"):
        encoder = build_lidar_encoder(json.loads(lidar))
    return sum(parameter.numel() for parameter in encoder.parameters())


def _about(path: Path) -> str:
    """The comment at the beginning of a file."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return "\n".join(lines)


def shipped_name(path: Path) -> str | None:
    """The name of a shipped config's file, None of another file."""
    names = {file.resolve(): name for name, file in shipped_configs().items()}
    return names.get(path.resolve())


def _cost_lines(path: Path, changed: bool) -> list[str]:
    name = shipped_name(path)
    how, costs = read_costs()
    if changed or name not in costs:
        return ["parameters, FLOPs and memory: `pc3d configs cost CONFIG` counts them on your data"]
    return [*cost_lines(costs[name]), how]


def _step_seconds(path: Path) -> dict[str, float]:
    name = shipped_name(path)
    return {} if name is None else dict(read_json(shipped_folder() / STEPS)["seconds"].get(name, {}))
