"""The state of a training between two steps, as plain data, and back."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from pc3d.data.batch import named_tensors
from pc3d.data.errors import DataError
from pc3d.engine.runs.exits import NotFinite
from pc3d.engine.runs.ranks import gathered, rank, world
from pc3d.models.weights import load_tensors


def random_state() -> dict[str, Any]:
    """State of the process's global random generators."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc]  # noqa: NPY002
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set what `random_state` gave."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


class Stateful(Protocol):
    """What a run has beside its model and optimizer: the scale of float16, averaged weights."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def capture(
    model: nn.Module, optimizer: torch.optim.Optimizer, extras: Mapping[str, Stateful] | None = None
) -> dict[str, Any]:
    """Weights, optimizer, and what each process has of its own: buffers and random generators.

    Every process must call it. Tensors are those of the model itself, not copies.

    Args:
        extras: what else there is, by name.
    """
    own = {"random": random_state()}
    if world() > 1:  # batch-norm statistics are not shared between processes
        own["buffers"] = {name: buffer.cpu() for name, buffer in model.named_buffers()}
    state = {"model": dict(model.state_dict()), "optimizer": optimizer.state_dict(), "ranks": gathered(own)}
    more = {name: extra.state_dict() for name, extra in (extras or {}).items()}
    return {**state, "extras": more} if more else state


def restore(
    state: Mapping[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    source: object,
    extras: Mapping[str, Stateful] | None = None,
) -> list[str]:
    """Put a captured state, or that of a checkpoint of pc3d 0.1, back.

    The optimizer keeps its own settings (learning rate, weight decay, ...): those of the config.

    Returns:
        What could not be put back, a line each.

    Raises:
        DataError: the state is of another model.
    """
    weights = state["model"] if "model" in state else state["state_dict"]
    try:
        load_tensors(model, weights, source, remedy="go on with the settings that it was trained with")
    except ValueError as error:
        raise DataError(str(error)) from error
    notes = []
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    saved = {key: state["optimizer"][key] for key in ("state", "param_groups")}
    try:
        optimizer.load_state_dict(saved)
    except (ValueError, KeyError):
        notes.append("the optimizer starts anew: its state is of another one")
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
    for name, extra in (extras or {}).items():
        try:
            extra.load_state_dict(state.get("extras", {})[name])
        except (KeyError, ValueError):
            notes.append(f"{name} starts anew: the checkpoint has none that fits")
    ranks = state.get("ranks", ())
    if rank() < len(ranks):
        own_state = ranks[rank()]
        buffers = dict(model.named_buffers())
        for name, buffer in own_state.get("buffers", {}).items():
            buffers[name].copy_(buffer)
        set_random_state(own_state["random"])
    return notes


def non_finite(state: Mapping[str, Any]) -> set[str]:
    """Names of the tensors of a state with an entry that is not finite."""
    tensors = dict(named_tensors({key: state[key] for key in ("model", "optimizer")}))
    floats = {name: t for name, t in tensors.items() if t.is_floating_point() and t.numel()}
    return {name for name, t in floats.items() if not bool(torch.isfinite(t).all())}


def refuse_non_finite(state: Mapping[str, Any], known: set[str], step: int) -> None:
    """Refuse to save what is not finite.

    Args:
        known: names that never were (masks with an infinite entry). step: that was reached.

    Raises:
        NotFinite: names the tensors.
    """
    bad = sorted(non_finite(state) - known)
    if bad:
        shown = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise NotFinite(
            f"the weights are not finite after step {step} and are not saved: {shown}\n"
            "  where: the optimizer's update (loss and gradients were finite)\n"
            "  remedy: lower `optimizer.lr`, then go on from the last whole checkpoint: --resume "
            "--allow-change optimizer.lr"
        )
