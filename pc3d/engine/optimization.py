"""Optimizer, precision and learning rate of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from pc3d.engine.precision import (
    HALVES,
    compile_maps,
    forward_precision,
    keep_linear_float32,
    recompute_activations,
    use_half_sparse,
    use_half_teachers,
)
from pc3d.engine.runs.ranks import largest

OPTIMIZERS = {"AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}
SCHEDULE_DEFAULTS: dict[str, Any] = {"kind": "one_cycle", "warmup": 0.2}
SCHEDULES = ("constant", "cosine", "one_cycle")
START, END = 1 / 25, 1e-4
"""Shares of the rate that a one-cycle schedule begins and ends with."""


class GuardedOptimWrapper(OptimWrapper):
    """Leaves a step out whose loss or gradients, summed over the processes, are not finite.

    Args:
        parts: batches of a step; their gradients are averaged.

    Attributes:
        skipped: whether the last step was left out, in every process alike.
        overflowed: whether that was for a scale that was too large, which is smaller now.
        scale: that the loss is multiplied by before its backward pass.
        finite_loss: whether the loss of this process was finite.
        grad_norm: of the last step before it was clipped, where it is; on the device.
    """

    skipped = False
    overflowed = False
    finite_loss = True
    grad_norm: Tensor | None = None
    scale = 1.0

    def __init__(self, *args: Any, parts: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parts, self._losses = parts, list[Tensor]()

    def update_params(self, loss: Tensor, step_kwargs: Any = None, zero_kwargs: Any = None) -> None:
        factor = self.scale / self.parts
        self.backward(loss if factor == 1.0 else loss * factor)
        self._losses.append(loss.detach().float())
        if len(self._losses) == self.parts:
            self._end(step_kwargs or {}, zero_kwargs or {})

    def _end(self, step_kwargs: dict[str, Any], zero_kwargs: dict[str, Any]) -> None:
        """After the gradients of all parts of a step."""
        loss, self._losses = torch.stack(self._losses).sum(), []
        gradients = [p.grad for p in self._parameters() if p.grad is not None]
        if self.scale != 1.0 and gradients:
            torch._foreach_mul_(gradients, 1.0 / self.scale)
        # A sum is not finite where an entry is not, and else only where it overflows: then each is looked at.
        sums = [loss, *(gradient.sum().float() for gradient in gradients)]
        flags = torch.isfinite(torch.stack(sums))
        self.finite_loss, finite = torch.stack([flags[0], flags.all()]).tolist()  # the one wait of a step
        if self.finite_loss and not finite:
            finite = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        self.skipped = bool(largest([not finite])[0])
        self._rescaled(self.skipped)
        if not self.skipped:
            self.step(**step_kwargs)
        self.zero_grad(**zero_kwargs)

    def _rescaled(self, skipped: bool) -> None:
        """Hook: whether the step was left out."""

    def _parameters(self) -> Iterator[nn.Parameter]:
        for group in self.optimizer.param_groups:
            yield from group["params"]

    def _clip_grad(self) -> None:
        # mmengine's reads the norm at once.
        clipped = [p for p in self._parameters() if p.grad is not None]
        self.grad_norm = nn.utils.clip_grad_norm_(clipped, **self.clip_grad_kwargs) if clipped else None


class HalfOptimWrapper(GuardedOptimWrapper):
    """Runs the forward pass in bfloat16 where `torch.autocast` holds that safe; weights stay float32."""

    precision = "bfloat16"

    @contextmanager
    def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
        with super().optim_context(model), forward_precision(model, self.precision):
            yield


class ScaledOptimWrapper(HalfOptimWrapper):
    """The same in float16, whose small gradients vanish: the loss is scaled up, and the gradients down.

    A gradient that overflows halves the scale and leaves the step out; `GROWTH` steps without one double it
    (Micikevicius et al., "Mixed precision training", ICLR 2018). The scale is a part of a checkpoint.
    """

    precision = "float16"
    GROWTH = 2000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scale, self.good_steps = 2.0**16, 0

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale, self.good_steps = float(state["scale"]), int(state["good_steps"])

    def _rescaled(self, skipped: bool) -> None:
        self.overflowed = skipped and self.finite_loss and self.scale > 1.0
        self.good_steps = 0 if skipped else self.good_steps + 1
        if skipped:
            self.scale = max(self.scale / 2, 1.0)
        elif self.good_steps == self.GROWTH:
            self.scale, self.good_steps = self.scale * 2, 0


WRAPPERS: dict[str, type[GuardedOptimWrapper]] = {
    "float32": GuardedOptimWrapper,
    "bfloat16": HalfOptimWrapper,
    "float16": ScaledOptimWrapper,
}


def use_channels_last(model: torch.nn.Module) -> None:
    """Keep the weights of 2D convolutions with their channels last, which are faster so.

    A detector's step on a CPU takes 0.83 of the time. 3D weights (spconv's) stay as they are.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def use_sync_batch_norm(model: torch.nn.Module) -> None:
    """Let batch norms take their statistics over the batches of all processes, in place.

    Of dense maps and of the points or voxels of a sparse one, which may be more in one process than in
    another. What is in evaluation mode while the model trains (frozen parts) stays as it is, and so does
    everything in a run of one process, which has the whole batch.

    Raises:
        ValueError: several processes without CUDA, which torch's layer needs.
    """
    if get_world_size() == 1:
        return
    if not torch.cuda.is_available():
        raise ValueError(
            "runtime.sync_batch_norm needs CUDA: torch's SyncBatchNorm does not run on CPUs; leave it out"
        )
    model.train()
    every = dict(model.named_modules(remove_duplicate=False))
    norms = {name: m for name, m in every.items() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    synced = {id(m): nn.SyncBatchNorm.convert_sync_batchnorm(m) for m in norms.values() if m.training}
    for name, norm in norms.items():
        model.set_submodule(name, synced.get(id(norm), norm))


def prepare(model: torch.nn.Module, runtime: Mapping[str, Any]) -> None:
    """Lay a model out for training, in place, by the settings of `runtime`."""
    use_channels_last(model)
    if runtime.get("sync_batch_norm", False):
        use_sync_batch_norm(model)
    if runtime.get("precision", "float32") in HALVES and not torch.cuda.is_available():
        keep_linear_float32(model)
    if runtime.get("teacher_precision", "float32") == "bfloat16":
        use_half_teachers(model)
    if runtime.get("sparse_precision", "float32") == "float16":
        if not torch.cuda.is_available():
            raise ValueError(
                "runtime.sparse_precision='float16' needs CUDA: spconv has no such kernels on CPUs"
            )
        use_half_sparse(model)
    if runtime.get("compile", False):
        if runtime.get("recompute_activations", False):
            raise ValueError("runtime.compile and runtime.recompute_activations exclude each other")
        compile_maps(model)
    if runtime.get("recompute_activations", False):
        recompute_activations(model)


def build_optimizer(
    model: torch.nn.Module, config: dict[str, Any], runtime: Mapping[str, Any] | None = None
) -> GuardedOptimWrapper:
    """OptimWrapper of `optimizer` settings: `type`, its arguments, `clip_norm`, `head_lr_scale`.

    `head_lr_scale` multiplies the learning rate of parameters under a module named `head`.

    Args:
        runtime: settings of `runtime`; `precision` and `accumulate` are read.
    """
    precision = (runtime or {}).get("precision", "float32")
    parts = (runtime or {}).get("accumulate", 1)
    if precision not in WRAPPERS:
        raise ValueError(f"unknown runtime.precision {precision!r}; known: {', '.join(WRAPPERS)}")
    if parts < 1:
        raise ValueError(f"runtime.accumulate is {parts}, expected at least 1")
    settings = dict(config)
    name = settings.pop("type", "AdamW")
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; known: {', '.join(OPTIMIZERS)}")
    clip, scale = settings.pop("clip_norm", None), settings.pop("head_lr_scale", 1.0)
    named = [(key, p) for key, p in model.named_parameters() if p.requires_grad]
    head = [p for key, p in named if "head" in key.split(".")]
    body = [p for key, p in named if "head" not in key.split(".")]
    groups = [{"params": body}] if body else []
    if head:
        groups.append({"params": head, "lr": settings["lr"] * scale})  # type: ignore[dict-item]
    optimizer = OPTIMIZERS[name](groups, **settings)  # type: ignore[operator]
    return WRAPPERS[precision](optimizer, clip_grad={"max_norm": clip} if clip else None, parts=parts)


def learning_rate(kind: str, step: int, iterations: int, warmup: float) -> float:
    """Share of the rate that step `step` (from 0) of `iterations` takes.

    `constant`; `cosine` to 1e-4 of the rate; `one_cycle`: a linear warm-up over the share `warmup` of the
    steps, from 1/25 of the rate, then the cosine.
    """
    if kind not in SCHEDULES:
        raise ValueError(f"unknown schedule {kind!r}; known: {', '.join(SCHEDULES)}")
    if kind == "constant":
        return 1.0
    begin = round(iterations * warmup) if kind == "one_cycle" else 0
    begin = 0 if begin < 2 else begin  # a warm-up of one step would never reach the rate
    if step < begin:
        return START + (1 - START) * step / (begin - 1)
    along = (step - begin) / max(iterations - begin, 1)
    return END + (1 - END) * (1 + math.cos(math.pi * along)) / 2


class ScheduleHook(Hook):
    """Sets the learning rate of each step from its number alone; rates of groups keep their ratio.

    Nothing of it needs saving, and a run that is made longer has the rates of the new length.
    """

    priority = "VERY_HIGH"

    def __init__(self, schedule: dict[str, Any], iterations: int) -> None:
        settings = {**SCHEDULE_DEFAULTS, **schedule}
        self.kind, self.warmup, self.iterations = settings["kind"], settings["warmup"], iterations
        learning_rate(self.kind, 0, iterations, self.warmup)  # an unknown one is found before training
        self._rates: list[float] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        groups = runner.optim_wrapper.optimizer.param_groups
        self._rates = self._rates or [group["lr"] for group in groups]
        share = learning_rate(self.kind, runner.iter, self.iterations, self.warmup)
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate * share
