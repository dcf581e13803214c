"""A step that was not finite, run again from what the run kept of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from pc3d.data.batch import named_tensors
from pc3d.data.errors import fail
from pc3d.engine.kinds import BUILD
from pc3d.engine.optimization import prepare
from pc3d.engine.precision import forward_precision
from pc3d.engine.runs.failure import Failure, read_failure
from pc3d.engine.runs.state import set_random_state
from pc3d.models.weights import load_tensors


@dataclass(frozen=True)
class Replay:
    """What a step gave when it was run again.

    Attributes:
        failure: the step. values: losses and logged scalars, "loss" their sum.
        gradients: names of the parameters whose gradient is not finite.
        inputs: names of the tensors of the batch that are not finite, with how many entries are not.
    """

    failure: Failure
    values: dict[str, float]
    gradients: list[str]
    inputs: dict[str, int]

    @property
    def finite(self) -> bool:
        """Whether loss and gradients are finite now."""
        return not self.gradients and bool(torch.isfinite(torch.tensor(self.values["loss"])))

    def __str__(self) -> str:
        lines = [f"step {self.failure.step}, sweeps {', '.join(self.failure.batch.tokens)}"]
        bad = [f"  {name}: {count} entries are not finite" for name, count in self.inputs.items()]
        lines += ["batch:", *bad] if bad else ["batch: every entry is finite"]
        lines.append("losses:")
        lines += [f"  {name:<40} {value:.6g}" for name, value in self.values.items() if "loss" in name]
        count = len(self.gradients)
        shown = ", ".join(self.gradients[:3])
        lines.append(f"gradients that are not finite: {count}{f' ({shown}, ...)' if count else ''}")
        return "\n".join(lines)


def replay(folder: Path) -> Replay:
    """Run the step that `folder` keeps again, on the CPU or the GPU that is there.

    Raises:
        DataError: no step is kept there, or it is broken.
    """
    failure = read_failure(folder)
    if failure.kind not in BUILD:
        fail(f"a step of {failure.kind!r} cannot be run again", folder, "use the pc3d that wrote it")
    settings = {key: value for key, value in failure.config.items() if key != "init"}
    runtime = settings.get("runtime", {})
    precision = runtime.get("precision", "float32")
    model = BUILD[failure.kind](Config(settings))
    prepare(model, {**runtime, "sync_batch_norm": False, "sparse_precision": "float32"})
    load_tensors(model, failure.model, folder)
    model.to("cuda" if torch.cuda.is_available() else "cpu").train()
    set_random_state(failure.random)
    os.environ["RANK"] = str(failure.rank)  # a part of the seed of the step's draws
    with forward_precision(model, precision):
        results = model(*model.data_preprocessor(failure.batch, True), mode="loss")
    loss, values = model.parse_losses(results)
    loss.backward()
    gradients = [n for n, p in model.named_parameters() if p.grad is not None and _bad(p.grad)]
    inputs = {name: count for name, tensor in named_tensors(failure.batch) if (count := _bad(tensor))}
    return Replay(failure, {name: float(value.detach()) for name, value in values.items()}, gradients, inputs)


def _bad(tensor: Tensor) -> int:
    return int((~torch.isfinite(tensor)).sum())
