"""Published checkpoints as encoders of pc3d: which formats there are, and how one comes in.

A new format is one file here and one line in `FORMATS`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pc3d.data.errors import DataError
from pc3d.models.checkpoint import behind_prefix, find_prefix, read_tensors
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.lidar.published import (
    bevfusion,
    mmdet3d,
    mmdet3d_unet,
    openpcdet,
    pointcept,
    scalr,
    slidr,
    superflow,
)
from pc3d.models.lidar.published.base import PublishedFormat
from pc3d.models.weights import LoadReport, load_tensors, save_backbone

FORMATS: dict[str, PublishedFormat] = {
    "bevfusion": bevfusion.FORMAT,
    "mmdet3d": mmdet3d.FORMAT,
    "mmdet3d-minkunet": mmdet3d_unet.FORMAT,
    "openpcdet": openpcdet.FORMAT,
    "pointcept": pointcept.FORMAT,
    "scalr": scalr.FORMAT,
    "slidr": slidr.FORMAT,
    "superflow": superflow.FORMAT,
}
MOST_COLUMNS = 1000
"""Of points, as many as there are."""


def import_checkpoint(
    checkpoint: Path,
    name: str,
    out: Path,
    overrides: Mapping[str, Any] | None = None,
    intensity_scale: float | None = None,
    prefix: str | None = None,
) -> tuple[dict[str, Any], LoadReport]:
    """Write the backbone of a published checkpoint as a `backbone.safetensors`.

    Args:
        checkpoint: file of `torch.save`, read as data only.
        name: key of `FORMATS`.
        out: file to write, with the encoder's configuration in its metadata.
        overrides: settings of the encoder that a checkpoint does not tell, such as its voxels; `grid.cell`
            is the entry `cell` of `grid`.
        intensity_scale: the intensity that the network was fed with, over ours (0..1); by default the
            format's, if it has one. The weights of the first layer take it up.
        prefix: see `find_prefix`.

    Returns:
        The encoder's configuration, and what became of every tensor.

    Raises:
        ValueError: an unknown format, no `intensity_scale` where the format has none, or tensors that do not
            fit, all listed with their shapes.
        DataError: the file cannot be read, or is of another format.
    """
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
    family = FORMATS[name]
    tensors = read_tensors(checkpoint)
    prefix = find_prefix(tensors, family.markers, checkpoint, _advice(tensors, family), prefix)
    own, left_out = behind_prefix(tensors, prefix)
    scale = family.intensity_scale if intensity_scale is None else intensity_scale
    if scale is None:
        raise ValueError(
            f"{checkpoint}: a checkpoint of {name} does not say what its intensity was; give "
            "--intensity-scale 255 (nuScenes), or 1 (KITTI, and Waymo with its tanh)"
        )
    try:
        converted = family.convert(own, scale).with_columns(
            (overrides or {}).get("in_channels", MOST_COLUMNS)
        )
    except ValueError as error:
        raise DataError(f"{error}\n  where: {checkpoint}\n  remedy: choose the format it has") from error
    lidar = _overridden(converted.lidar, overrides or {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what the checkpoint has no weights for is the same at each import
        encoder = build_lidar_encoder(lidar)
    report = load_tensors(
        encoder,
        converted.tensors,
        checkpoint,
        fresh=converted.fresh,
        left_out={**left_out, **converted.left_out},
        remedy=f"is it a {name} checkpoint, and do the overrides keep its architecture?",
    )
    source = {"file": checkpoint.name, "format": name, "intensity_scale": scale}
    save_backbone(encoder, out, {"lidar": json.dumps(lidar), "source": json.dumps(source)})
    return lidar, report


def _advice(tensors: Mapping[str, Any], family: PublishedFormat) -> str:
    fits = [key for key, other in FORMATS.items() if any(name.endswith(other.markers) for name in tensors)]
    return (
        f"the file has the names of: {', '.join(fits)}" if fits else family.note or "no format has its names"
    )


def _overridden(lidar: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    lidar = copy.deepcopy(lidar)
    for key, value in overrides.items():
        *path, last = key.split(".")
        place = lidar
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return lidar
