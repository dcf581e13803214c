"""Steps whose loss or gradients are not finite are left out, as if they had never been."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.data.batch import Batch
from pc3d.engine.optimization import GuardedOptimWrapper
from pc3d.engine.runs.exits import NotFinite
from pc3d.engine.runs.state import random_state


def moving_tensors(model: nn.Module) -> Iterator[Tensor]:
    """What a forward pass may change: all buffers, and the weights of momentum copies."""
    yield from model.buffers()
    for module in model.modules():
        if getattr(module, "moves_without_gradient", False):
            yield from module.parameters()


class NonFiniteGuard:
    """Undoes a step that the optimizer's wrapper left out, and ends the run after several in a row.

    Args:
        model: that is trained. wrapper: of its optimizer.
        patience: steps in a row that end the run.
        record: keeps the first such step, given its number, batch, the random state before it, and its
            results; says what a person can do with that.
    """

    def __init__(
        self,
        model: nn.Module,
        wrapper: GuardedOptimWrapper,
        patience: int,
        record: Callable[[int, Batch, dict[str, Any], dict[str, Any]], str],
    ) -> None:
        self.wrapper, self.patience, self.record = wrapper, patience, record
        self.streak, self.total = 0, 0
        self._first: tuple[int, list[str], str] | None = None
        self._moving = list({id(t): t for t in moving_tensors(model)}.values())
        self._before: list[Tensor] = []
        self._random: dict[str, Any] = {}

    @torch.no_grad()
    def before_step(self) -> None:
        """Remember what the forward pass may change."""
        if not self._before:
            self._before = [torch.empty_like(tensor) for tensor in self._moving]
        for kept, tensor in zip(self._before, self._moving, strict=True):
            kept.copy_(tensor)
        self._random = random_state()

    @torch.no_grad()
    def after_step(self, step: int, batch: Batch, results: dict[str, Any]) -> bool:
        """Undo the step if it was left out.

        Args:
            step: its number, from 1. results: losses and logged scalars.

        Returns:
            Whether it was.
        """
        if not self.wrapper.skipped:
            self.streak = 0
            return False
        for kept, tensor in zip(self._before, self._moving, strict=True):
            tensor.copy_(kept)
        if self.wrapper.overflowed:  # of float16, whose scale is smaller now
            return True
        self.streak += 1
        self.total += 1
        if self.streak == 1:
            message = self.record(step, batch, self._random, results)
            self._first = (step, list(itertools.chain(batch.tokens)), message)
        return True

    def check(self) -> None:
        """End the run after `patience` such steps in a row.

        Raises:
            NotFinite: names the first of them and its sweeps.
        """
        if self.streak < self.patience or self._first is None:
            return
        step, tokens, message = self._first
        raise NotFinite(
            f"loss or gradients were not finite in {self.streak} steps in a row, first in step {step}\n"
            f"  where: sweeps {', '.join(tokens)}\n"
            f"  remedy: {message}; look at these sweeps, or lower `optimizer.lr` and go on with --resume "
            "--allow-change optimizer.lr"
        )
