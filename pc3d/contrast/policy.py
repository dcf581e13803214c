"""What the parts of a contrast share: what they declare, numbers drawn for a row, one change of state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pc3d.contrast.comparison import Comparison, Facts
from pc3d.data.batch import Needs


class Part(nn.Module):
    """A similarity, policy, loss or regularizer of a contrast.

    Class attributes:
        wants: facts of the rows that it reads, of `comparison.FACTS`.
        needs: what the loader must make for it.
        unit_rows: it assumes rows of unit length: where means are compared, set `renormalise`.
        neutral: arguments with which it changes nothing, None where there are none.
    """

    wants: tuple[str, ...] = ()
    needs: ClassVar[Needs] = Needs()
    unit_rows: ClassVar[bool] = False
    neutral: ClassVar[Mapping[str, Any] | None] = None

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        """What the loader must make for these arguments."""
        return cls.needs

    def observe(self, anchors: Tensor, others: Tensor, facts: Facts, other_facts: Facts) -> None:
        """Look at the two sides of a comparison in training, without gradient; the state stays as it is."""

    def commit(self) -> None:
        """Change queues and prototypes by what was observed; called once a step, after its losses."""


def check_unit_rows(part: Part, unit_rows: bool) -> None:
    """Refuse a part that assumes rows of unit length where means are compared.

    Raises:
        ValueError: it names the part and the remedy.
    """
    if part.unit_rows and not unit_rows:
        raise ValueError(
            f"{type(part).__name__} assumes rows of unit length, and this objective compares means: set "
            "renormalise=True"
        )


class Policy(Part):
    """Changes a comparison: adds positives, weighs or adds negatives."""

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        """The changed comparison.

        Args:
            generator: source of random numbers (CPU), which policies draw from through `draw` only.
        """
        raise NotImplementedError


class Regularizer(Part):
    """A term that reads the two sides only."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight is {weight}, expected 0 or more")
        self.weight = weight

    def forward(self, anchors: Tensor, others: Tensor, facts: Facts) -> Tensor:
        """A scalar, 0 with a graph where there are too few rows."""
        raise NotImplementedError


def row_keys(facts: Facts, count: int, device: torch.device) -> Tensor:
    """(count,) int64, what names each row wherever it stands: its ids, or its place where it has none."""
    return facts["ids"] if "ids" in facts else torch.arange(count, device=device)


def draw(generator: torch.Generator, keys: Tensor, count: int) -> Tensor:
    """(N, count) float64 in [0, 1), a function of the generator and of each row's key alone.

    So rows that are given in another order, or on two ranks, draw the same numbers. The mixing of the bits is
    that of SplitMix64 (Steele et al., OOPSLA 2014).
    """
    seed = torch.randint(0, 2**62, (), generator=generator).to(keys.device)
    column = torch.arange(1, count + 1, device=keys.device) * _signed(0x9E3779B97F4A7C15)
    bits = _mix(keys.long() + seed)[:, None] + column[None, :]
    return (_mix(bits) >> 11 & (2**53 - 1)).double() / 2**53


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finalizer, on int64 that wraps around."""
    x = (x ^ (x >> 30 & 2**34 - 1)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> 27 & 2**37 - 1)) * _signed(0x94D049BB133111EB)
    return x ^ (x >> 31 & 2**33 - 1)
