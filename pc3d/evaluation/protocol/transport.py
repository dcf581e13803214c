"""Prototypes of few labels, moved onto the distribution of what is to be told (OpTA of BECLR, ICLR 2024)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def transported_prototypes(
    supports: Array,
    queries: Array,
    reg: float = 0.05,
    passes: int = 1,
    keep: float = 0.0,
    marginals: Array | None = None,
    rounds: int = 1000,
) -> NDArray[np.float64]:
    """Each prototype becomes the mean of the queries that optimal transport gives it.

    The cost is the squared distance over its largest value, the plan the entropic one by Sinkhorn, its rows
    scaled to sum 1.

    Args:
        supports: (C, D) prototypes, one a class. queries: (Q, D) unlabelled features.
        reg: of the entropy, 0.05 in the authors' code; the larger, the nearer to the mean of all queries.
        passes: 5 there for one label a class, else 1. keep: share of the old prototypes, 0.3 there for more.
        marginals: (C,) share of each class, even by default; classes of a drive are far from even.
        rounds: of Sinkhorn at most.

    Returns:
        (C, D) float64.

    Raises:
        ValueError: sizes or settings that cannot be.
    """
    s, q = np.asarray(supports, dtype=np.float64), np.asarray(queries, dtype=np.float64)
    if s.ndim != 2 or q.ndim != 2 or s.shape[1] != q.shape[1] or not len(s) or not len(q):
        raise ValueError(f"supports {s.shape} and queries {q.shape}: expected (C, D) and (Q, D), not empty")
    if reg <= 0 or passes < 1 or not 0 <= keep < 1:
        raise ValueError(f"reg {reg}, passes {passes}, keep {keep}: expected above 0, at least 1, below 1")
    rows = np.full(len(s), 1 / len(s)) if marginals is None else np.asarray(marginals, dtype=np.float64)
    if rows.shape != (len(s),) or (rows <= 0).any() or not np.isclose(rows.sum(), 1):
        raise ValueError(f"marginals are {len(s)} positive shares of sum 1, got {rows}")
    for _ in range(passes):
        plan = _plan(s, q, rows, reg, rounds)
        s = (1 - keep) * plan @ q + keep * s
    return s


def _plan(s: Array, q: Array, rows: Array, reg: float, rounds: int) -> Array:
    """(C, Q) entropic transport plan, with rows of sum 1."""
    squares = (s**2).sum(axis=1)[:, None] + (q**2).sum(axis=1)[None, :]
    cost = np.maximum(squares - 2 * s @ q.T, 0)  # no (C, Q, D): there may be a million queries
    logs = -cost / max(cost.max(), np.finfo(float).tiny) / reg
    for _ in range(rounds):
        before = logs
        logs = logs - np.logaddexp.reduce(logs, axis=0) - np.log(len(q))
        logs = logs - np.logaddexp.reduce(logs, axis=1)[:, None] + np.log(rows)[:, None]
        if np.abs(logs - before).max() < 1e-12:
            break
    plan = np.exp(logs)
    found: Array = plan / plan.sum(axis=1, keepdims=True)
    return found
