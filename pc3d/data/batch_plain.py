"""A batch as plain data, which `torch.save` writes and `torch.load(weights_only=True)` reads, and back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pc3d.data.batch import Batch, FrameBatch, Pairs, PointView, TeacherMaps
from pc3d.data.occupancy_batch import OccupancyQueries
from pc3d.data.records import Boxes

_KINDS = {
    kind.__name__: kind
    for kind in (Batch, FrameBatch, Pairs, PointView, TeacherMaps, OccupancyQueries, Boxes)
}
_KIND = "__kind__"


def batch_to_plain(value: Any) -> Any:
    """Dictionaries, lists, numbers, texts and CPU tensors only."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray):
        return {_KIND: "array", "values": torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        content = {f.name: batch_to_plain(getattr(value, f.name)) for f in fields(value)}
        return {_KIND: type(value).__name__, **content}
    if isinstance(value, dict):
        return {key: batch_to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(batch_to_plain(item) for item in value)
    return value


def batch_from_plain(value: Any) -> Any:
    """The inverse of `batch_to_plain`.

    Raises:
        ValueError: the data were not written by it.
    """
    if isinstance(value, list | tuple):
        return type(value)(batch_from_plain(item) for item in value)
    if not isinstance(value, dict):
        return value
    content = {key: batch_from_plain(item) for key, item in value.items() if key != _KIND}
    kind = value.get(_KIND)
    if kind is None:
        return content
    if kind == "array":
        return content["values"].numpy()
    if kind not in _KINDS:
        raise ValueError(f"a batch holds no {kind}")
    return _KINDS[kind](**content)
