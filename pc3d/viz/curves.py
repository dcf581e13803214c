"""Training curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.viz.canvas import FAINT, INK, pixel_figure
from pc3d.viz.colours import categorical_colours

_STEP_KEYS = ("step", "iter", "iteration", "epoch")


def loss_curves(
    metrics: Sequence[dict[str, Any]], path: Path | str, *, title: str = "", width: int = 1400
) -> None:
    """Training curves, a panel for every numeric key: the values faint, their running mean bright.

    Args:
        metrics: rows as a run logs them, e.g. `{"step": 10, "loss": 2.1, "loss_prc": 1.4, "lr": 1e-3}`;
            a key may be missing in some rows. The horizontal axis is `step`, `iter` or `epoch`.
    Raises:
        ValueError: there is nothing to draw.
    """
    axis_key = next((key for key in _STEP_KEYS if any(key in row for row in metrics)), None)
    curves = _curves(metrics, axis_key)
    if not curves:
        raise ValueError(f"no numeric value in {len(metrics)} rows of metrics: nothing to draw in {path}")
    cols = min(len(curves), 3)
    rows = -(-len(curves) // cols)
    height = 310 * rows + (50 if title else 10)
    with pixel_figure(width, height, path) as figure:
        top = 1 - (60 if title else 30) / height
        grid = figure.add_gridspec(
            rows, cols, left=0.05, right=0.985, top=top, bottom=48 / height, wspace=0.18, hspace=0.42
        )
        if title:
            figure.text(0.012, 1 - 22 / height, title, color=INK, fontsize=15, va="center", weight="bold")
        for i, (name, (x, y)) in enumerate(curves.items()):
            axis = figure.add_subplot(grid[i // cols, i % cols])
            _draw_curve(axis, x, y, categorical_colours(np.array([i]))[0] / 255.0)
            axis.set_title(name, color=INK, fontsize=11, loc="left")
            axis.set_xlabel(axis_key or "row", color=FAINT, fontsize=9)


def _curves(
    metrics: Sequence[dict[str, Any]], axis_key: str | None
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The finite values of every numeric key over the steps; losses come first."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row, values in enumerate(metrics):
        at = float(values.get(axis_key, row)) if axis_key else float(row)
        for key, value in values.items():
            numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
            if key not in _STEP_KEYS and numeric and np.isfinite(value):
                series.setdefault(key, []).append((at, float(value)))
    names = sorted(series, key=lambda name: (name != "loss", "loss" not in name))
    return {name: (np.array(series[name])[:, 0], np.array(series[name])[:, 1]) for name in names}


def _draw_curve(
    axis: Any, x: NDArray[np.float64], y: NDArray[np.float64], colour: NDArray[np.float64]
) -> None:
    axis.set_facecolor("#111621")
    axis.tick_params(colors=FAINT, labelsize=9, length=0)
    axis.grid(color="#232a38", lw=0.8)
    axis.spines[:].set_visible(False)
    span = len(y) // 25
    if span < 2:
        axis.plot(x, y, color=colour, lw=1.8, marker="o" if len(y) < 12 else None, ms=4)
        return
    axis.plot(x, y, color=colour, lw=0.8, alpha=0.35)
    total = np.concatenate([[0.0], np.cumsum(y)])
    first = np.maximum(np.arange(len(y)) - span, 0)
    end = np.minimum(np.arange(len(y)) + span + 1, len(y))
    axis.plot(x, (total[end] - total[first]) / (end - first), color=colour, lw=2.0)
