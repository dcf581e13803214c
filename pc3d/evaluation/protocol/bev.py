"""Probe of bird's-eye-view maps: the same cells for every map, one logistic regression for each mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pc3d.data.batch import Needs
from pc3d.data.dataset import FrameDataset
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.map_targets import MAP_CLASSES
from pc3d.data.records import Boxes, Float64
from pc3d.evaluation.protocol.data import checked_tokens, rng_of
from pc3d.evaluation.protocol.logistic import fit_logistic
from pc3d.evaluation.protocol.probes import C, standardise
from pc3d.geometry.boxes import points_in_boxes
from pc3d.geometry.grid import BevGrid

OBJECTS: dict[str, str] = {"vehicle": "vehicle.", "pedestrian": "human.pedestrian."}
"""What may stand on a cell, and how the names of its categories begin in the nuScenes format, which is the
one that has maps."""
MASKS = (*MAP_CLASSES, *OBJECTS)
GROUPS: dict[str, tuple[str, ...]] = {"map": MAP_CLASSES, "objects": tuple(OBJECTS)}
"""Masks whose scores are averaged."""
CELLS_PER_SWEEP = 500
REACH = 40.0
"""Metres around the LiDAR: farther away a camera's pixel is longer than a cell."""


@dataclass(frozen=True, eq=False)
class BevData:
    """Cells of the maps of some sweeps, N in all, sweep after sweep.

    Attributes:
        index: of the data set.
        tokens: of the S sweeps.
        grid: whose cells were drawn.
        xy: of each sweep the (n, 2) float32 centres of its cells, metres in the LiDAR frame.
        targets: (N, 8) bool, one column for each of `MASKS`.
    """

    index: SweepIndex
    tokens: tuple[str, ...]
    grid: BevGrid
    xy: tuple[NDArray[np.float32], ...]
    targets: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.targets)


def draw_cells(
    index: SweepIndex,
    tokens: Sequence[str],
    grid: BevGrid,
    cells_per_sweep: int = CELLS_PER_SWEEP,
    reach: float = REACH,
    seed: int = 0,
) -> BevData:
    """Draw cells of sweeps, uniformly and without repeats, and look up what is there.

    The draw of a sweep depends on its token, the grid, the reach and the seed alone. A cell is of a class of
    the map as `MapRasteriser` draws it. It is of an object where its centre lies in a box that holds a LiDAR
    point (or an unknown number), seen from above, or where the centre of such a box lies in it, so that a
    pedestrian is never lost between centres.

    Args:
        tokens: of sweeps of a data set with maps.
        grid: of the map that is probed; others are read at the centres of its cells.
        cells_per_sweep: at most so many of each, of the centres within `reach` metres of the LiDAR.

    Raises:
        DataError: the data set has no maps.
        ValueError: no token, one twice, or no cell is asked for.
    """
    tokens = checked_tokens(tokens, cells_per_sweep, "cells")
    centres = cell_centres(grid)
    near = np.flatnonzero(np.hypot(centres[:, 0], centres[:, 1]) <= reach)
    if not len(near):
        raise ValueError(f"no cell of the grid lies within {reach} m of the LiDAR: {grid}")
    dataset = FrameDataset(
        index, Needs(maps=True, boxes=True), tokens=tokens, config=FrameConfig(map_grid=grid)
    )
    xy, targets = [], []
    for number, token in enumerate(tokens):
        frame = dataset[number].frames["t"]
        assert frame.maps is not None
        assert frame.boxes is not None
        cells = np.sort(rng_of(token, seed).permutation(near)[:cells_per_sweep])
        of_map = frame.maps.reshape(len(MAP_CLASSES), -1)[:, cells]
        of_objects = [_covered(frame.boxes, start, grid)[cells] for start in OBJECTS.values()]
        xy.append(centres[cells].astype(np.float32))
        targets.append(np.stack([*of_map, *of_objects], axis=1))
    return BevData(index, tokens, grid, tuple(xy), np.concatenate(targets))


def cell_centres(grid: BevGrid) -> Float64:
    """(rows * cols, 2) x, y in metres of all cells, row after row."""
    x = grid.x_min + (np.arange(grid.cols) + 0.5) * grid.cell
    y = grid.y_min + (np.arange(grid.rows) + 0.5) * grid.cell
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _covered(boxes: Boxes, start: str, grid: BevGrid) -> NDArray[np.bool_]:
    """(rows * cols,) cells under the boxes whose category begins so."""
    named = np.array([name.startswith(start) for name in boxes.names], dtype=np.bool_)
    kept = named & (boxes.num_lidar_pts != 0)
    covered = np.zeros(grid.rows * grid.cols, dtype=np.bool_)
    if not kept.any():
        return covered
    middle = boxes.centers[kept] * [1.0, 1.0, 0.0]
    flat = np.column_stack([cell_centres(grid), np.zeros(len(covered))])
    covered |= points_in_boxes(flat, middle, boxes.sizes[kept], boxes.yaws[kept]).any(axis=0)
    col = np.floor((middle[:, 0] - grid.x_min) / grid.cell).astype(np.int64)
    row = np.floor((middle[:, 1] - grid.y_min) / grid.cell).astype(np.int64)
    inside = (col >= 0) & (col < grid.cols) & (row >= 0) & (row < grid.rows)
    covered[row[inside] * grid.cols + col[inside]] = True
    return covered


def probe_cells(
    train_x: NDArray,
    train: NDArray[np.bool_],
    val_x: NDArray,
    val: NDArray[np.bool_],
    names: Sequence[str] = MASKS,
    groups: Mapping[str, Sequence[str]] = GROUPS,
    c: float = C,
) -> dict[str, Any]:
    """One logistic regression for each mask, to convergence, on features standardised over `train_x`.

    A cell may be of several masks or of none, so each mask is a question of its own, with a penalty of
    |w|^2 / (4 c N) beside the mean cross-entropy (two classes share the weight w). Both scores count all
    cells of the validation part together:

    - `iou`: hits over the union of truth and cells with a probability of 0.5 or more. It also asks that the
      level of the probability is right, and is 0 for a rare class that never gets there.
    - `ap`: average precision, sum over the thresholds of (recall gained) * precision, which is the share of
      the class where features say nothing. It is the number to compare by.

    Args:
        train_x, val_x: (N, C) and (M, C). train, val: (N, K) and (M, K) masks.
        names: of the K masks. groups: names whose scores are averaged.
        c: inverse penalty.

    Returns:
        `masks`: by name `iou`, `ap`, `share` (of the validation cells), `converged`; all NaN for a mask that
        one part does not have, or has everywhere. `means`: of each group `iou` and `ap` without those.

    Raises:
        ValueError: shapes that do not fit, or features that are not finite.
    """
    x, y = (torch.from_numpy(part) for part in standardise(train_x, val_x, where="features of cells"))
    if train.shape != (len(x), len(names)) or val.shape != (len(y), len(names)):
        raise ValueError(
            f"{len(x)} and {len(y)} features, masks of shapes {train.shape} and {val.shape}, names {names}"
        )
    masks = {name: _one_mask(x, train[:, k], y, val[:, k], c) for k, name in enumerate(names)}
    means = {
        group: {score: _mean([masks[name][score] for name in of]) for score in ("iou", "ap")}
        for group, of in groups.items()
    }
    return {"masks": masks, "means": means}


def _one_mask(
    x: torch.Tensor, train: NDArray[np.bool_], y: torch.Tensor, val: NDArray[np.bool_], c: float
) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score

    share = float(val.mean())
    if train.all() or not train.any() or val.all() or not val.any():
        return {"iou": np.nan, "ap": np.nan, "share": share, "converged": True, "gradient": 0.0}
    model = fit_logistic(x, torch.from_numpy(train).long(), c)
    probability = model.probabilities(y)[:, 1].numpy()
    found = probability >= 0.5
    return {
        "iou": float((found & val).sum() / (found | val).sum()),
        "ap": float(average_precision_score(val, probability)),
        "share": share,
        "converged": model.converged,
        "gradient": model.gradient,
    }


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
