"""Weights that a pretraining run starts from: an encoder file, or the files of an earlier run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pc3d.data.errors import did_you_mean, fail
from pc3d.engine.runs.folder import check_weights
from pc3d.findings import Finding
from pc3d.models.lidar import LidarEncoder, build_lidar_encoder
from pc3d.models.lidar.inputs import PointInputs
from pc3d.models.lidar.momentum import MomentumEncoder
from pc3d.models.weights import load_backbone

FILES = {"lidar": "backbone", "image": "image_backbone", "camera": "camera"}
"""File (`.safetensors`) of each part in a run folder; `heads` holds the objectives' own layers."""
HEADS = "heads"


def load_part(module: nn.Module, path: Path, partial: bool = False, prefix: str = "") -> None:
    """`load_backbone`; it says on the terminal what did not fit (`partial`), and what was read otherwise.

    Raises:
        ValueError: weights that do not fit; the names and shapes are listed.
        DataError: the weights of a run that is not finished.
    """
    if not Path(path).is_file():
        fail("there is no file of weights", path, "name one, such as RUN/backbone.safetensors")
    check_weights(path)
    report = load_backbone(module, path, partial, prefix)
    if partial and not report.complete:
        print(f"{path} fits {type(module).__name__} in part:\n{report}")
    if isinstance(module, LidarEncoder) and report.metadata.get("lidar"):
        for finding in _other_inputs(module, json.loads(report.metadata["lidar"]), path):
            print(finding.line())


def _other_inputs(module: LidarEncoder, lidar: dict[str, Any], path: Path) -> Iterator[Finding]:
    """What the encoder of a file read otherwise than this one: the weights fit, and mean something else."""
    with torch.random.fork_rng(devices=[]):  # what is built to be compared draws nothing of the run's numbers
        inputs, others = (
            getattr(encoder, "inputs", None) for encoder in (module, build_lidar_encoder(lidar))
        )
    if not isinstance(inputs, PointInputs) or not isinstance(others, PointInputs):
        return
    theirs = others.settings()
    for name, value in inputs.settings().items():
        if theirs[name] != value:
            text = f"lidar.{name} is {value} here, and was {theirs[name]} when {path} was trained"
            remedy = "take the `lidar` section of its run, or the one that `pc3d import` printed"
            yield Finding("inputs of the encoder", "warning", text, remedy)


def layer_of(objectives: nn.Module, name: str, setting: str) -> nn.Module:
    """A layer of the objectives by its name.

    Raises:
        ValueError: there is none; it names the setting and the layers that there are.
    """
    layers = dict(objectives.named_modules())
    if name not in layers:
        known = [layer for layer in layers if layer.count(".") == 1]
        near = did_you_mean(name, known)
        raise ValueError(
            f"{setting} names {name!r}, a layer of no objective{near}; known: {', '.join(known)}"
        )
    return layers[name]


def load_initial(init: Mapping[str, Any], modules: Mapping[str, nn.Module], objectives: nn.Module) -> None:
    """Load the `init` section of a pretraining config.

    Args:
        init: `run`, the folder of an earlier run, of which every part that it trained is loaded; `lidar`,
            `image`, `camera`: a file each; `heads`: layers of the objectives by their name here, with
            their name in `run` (`{"rad.teacher_projector": "prc.projector"}`); `partial`: load what fits;
            `random`: see `refuse_random_frozen`.
        modules: the parts by name. objectives: holds the heads.

    Raises:
        ValueError: an unknown setting, weights that do not fit (the names are listed), a file for a part that
            the model does not have, or a run that trained none of its parts.
        DataError: the run folder or a file is not there.
    """
    unknown = sorted(set(init) - {"run", "stage", "heads", "partial", "random", *FILES})
    if unknown:
        raise ValueError(
            f"init has no setting {', '.join(unknown)}; known: run, heads, partial, random, {list(FILES)}"
        )
    run = Path(init["run"]) if init.get("run") else None
    if run is not None and not (run / "backbone.safetensors").is_file():
        fail("no finished pretraining run", run, "run `pc3d pretrain` with its config first")
    idle = [name for name in FILES if init.get(name) and name not in modules]
    if idle:
        raise ValueError(
            f"init has weights of {', '.join(idle)}, but this model only has {', '.join(modules)}"
        )
    loaded = []
    for name, module in modules.items():
        path = Path(init[name]) if init.get(name) else None
        if path is None and run is not None:
            path = run / f"{FILES[name]}.safetensors"
            if not path.is_file():
                continue  # the run did not train this part
        if path is not None:
            load_part(module, path, init.get("partial", False))
            loaded.append(name)
    if run is not None and not loaded:
        raise ValueError(f"the run {run} trained none of the parts of this model: {', '.join(modules)}")
    if "lidar" in loaded:  # objectives copied the encoder before it had these weights
        for copy in objectives.modules():
            if isinstance(copy, MomentumEncoder):
                copy.network.load_state_dict(modules["lidar"].state_dict())
    for here, there in init.get("heads", {}).items():
        if run is None:
            raise ValueError("init.heads names layers of an earlier run: set init.run")
        load_part(layer_of(objectives, here, "init.heads"), run / f"{HEADS}.safetensors", prefix=f"{there}.")
