"""What a training step of a config costs: parameters, FLOPs and memory, counted on frames of its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from pc3d.data.batch import Batch, named_tensors
from pc3d.data.collate import collate
from pc3d.engine.config import plain
from pc3d.engine.costs.counting import PartCount, counted
from pc3d.engine.costs.parts import REST, parameters_of, part_labels
from pc3d.engine.kinds import BUILD, data_of
from pc3d.engine.optimization import build_optimizer
from pc3d.engine.stages import stage_configs
from pc3d.engine.training import seeded

SHAPES: dict[str, dict[str, Any]] = {
    "facebook/dinov2-base": {"model_type": "dinov2", "image_size": 518},
    "facebook/dinov2-large": {
        "model_type": "dinov2",
        "image_size": 518,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    },
    "microsoft/resnet-50": {"model_type": "resnet"},
    "microsoft/swin-tiny-patch4-window7-224": {"model_type": "swin"},
}
"""Image networks that shipped configs name by their hub name, by their shapes: nothing is downloaded."""


@dataclass
class Part(PartCount):
    """A part of the model.

    Attributes:
        parameters: all of them. trained: those with a gradient.
    """

    parameters: int = 0
    trained: int = 0


@dataclass(frozen=True)
class StepCost:
    """What a step costs on one process.

    Attributes:
        samples: of the batch. frames: of a pass over the data. points: of view "a", the mean of a sample.
        parts: by name.
        state: bytes of weights, buffers, gradients and the optimizer's state.
        batch: bytes of the batch's tensors.
    """

    samples: int
    frames: int
    points: int
    parts: dict[str, Part]
    state: int
    batch: int

    @property
    def forward(self) -> int:
        """FLOPs of the forward pass."""
        return sum(part.forward for part in self.parts.values())

    @property
    def flops(self) -> int:
        """FLOPs of the step, forward and backward."""
        return self.forward + sum(part.backward for part in self.parts.values())

    @property
    def saved(self) -> int:
        """Bytes kept for the backward pass."""
        return sum(part.saved for part in self.parts.values())

    @property
    def memory(self) -> int:
        """Bytes at the turn from the forward to the backward pass, in float32: what a step cannot do without.

        Workspaces, gradients under way, passes of frozen parts and the allocator's own are not in it.
        """
        return self.state + self.batch + self.saved

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def cost_from_json(row: dict[str, Any]) -> StepCost:
    """Inverse of `StepCost.as_json`."""
    return StepCost(**{**row, "parts": {name: Part(**part) for name, part in row["parts"].items()}})


def step_costs(config: Config, kind: str) -> dict[str, StepCost]:
    """What a step costs, by stage; the only key is empty where there are no stages.

    Args:
        config: a config of a `kind`, `pretrain` or `finetune`, whose data are there.

    Raises:
        DataError: an index or regions that are not there. ValueError: fewer frames than the batch has.
    """
    if kind == "pretrain" and config.get("stages"):
        stages = stage_configs(config, Path())
        return {name: _step_cost(stage, kind) for name, stage in stages.items()}
    return {"": _step_cost(config, kind)}


def _step_cost(config: Config, kind: str) -> StepCost:
    config = _without_files(config)
    batch, frames, config = _batch(config, kind)
    with seeded(config.get("seed", 0)):
        model = BUILD[kind](config)
    model.train()
    labels = part_labels(model)
    tensors = list({id(tensor): tensor for _, tensor in named_tensors(batch)}.values())
    known = (*model.parameters(), *model.buffers(), *tensors)
    with counted(labels, REST, iter(known)) as counts:
        model(batch)
    parameters = parameters_of(model, labels)
    parts = {
        name: Part(**asdict(count), parameters=total, trained=trained)
        for name, count in counts.items()
        for total, trained in [parameters.get(name, (0, 0))]
    }
    points = batch.now.views["a"].points.shape[0] // len(batch.tokens)
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}
    state = _state_bytes(model, parts, config)
    return StepCost(len(batch.tokens), frames, points, parts, state, sum(storages.values()))


def _without_files(config: Config) -> Config:
    """The config with random weights in place of files, and networks of the hub by their shapes."""
    settings = plain(config)
    settings.pop("init", None)
    settings.setdefault("runtime", {})["gradients_every"] = 0
    for network in _image_networks(settings.get("image")):
        network.pop("weights", None)
        if network.get("type") == "EfficientNetLite0":
            network["pretrained"] = False
    use_shapes(settings.get("image"))
    return Config(settings)


def _image_networks(image: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The sections that are image networks: `image` of a config, and the backbone in it."""
    return [network for network in (image, (image or {}).get("backbone")) if network]


def use_shapes(image: dict[str, Any] | None) -> None:
    """Put networks of `SHAPES` by their shapes, with random weights, in place of their names, in place."""
    for network in _image_networks(image):
        if isinstance(network.get("model"), str):
            network["model"] = SHAPES.get(network["model"], network["model"])


def _batch(config: Config, kind: str) -> tuple[Batch, int, Config]:
    """Frames at equal steps through the data, as many as a batch has; and how many there are."""
    size = config.data.batch_size
    dataset, config = data_of(config, kind)
    if len(dataset) < size:
        raise ValueError(f"the data have {len(dataset)} frames, a batch {size}: set data.batch_size lower")
    places = [(2 * number + 1) * len(dataset) // (2 * size) for number in range(size)]
    return collate([dataset[0, place] for place in places]), len(dataset), config


def _state_bytes(model: nn.Module, parts: Mapping[str, Part], config: Config) -> int:
    """Weights, buffers, gradients, and what the optimizer keeps of each weight that gets a gradient."""
    held = sum(x.numel() * x.element_size() for x in (*model.parameters(), *model.buffers()))
    moved = sum(part.trained for part in parts.values() if part.backward)
    return held + moved * torch.float32.itemsize * (1 + _optimizer_states(config))


def _optimizer_states(config: Config) -> int:
    """Numbers that the optimizer keeps of each weight: found by a step on one weight."""
    weight = nn.Linear(2, 2, bias=False)
    optimizer = build_optimizer(weight, plain(config.optimizer)).optimizer
    weight.weight.grad = torch.ones_like(weight.weight)
    optimizer.step()
    state = optimizer.state[weight.weight]
    return sum(isinstance(value, Tensor) and value.shape == weight.weight.shape for value in state.values())
