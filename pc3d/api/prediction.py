"""Predictions of a fine-tuned LiDAR model on clouds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pc3d.api.backbone import Cloud, view_of_clouds
from pc3d.api.hub import local_path
from pc3d.data.errors import fail
from pc3d.data.sweeps import point_columns
from pc3d.engine.checkpoints import classes_of_model, frames_of, load_bev_model, load_segmenter, task_of
from pc3d.engine.finetuner import FILES
from pc3d.models.bev_models import BevDetector, BevModel
from pc3d.models.heads.detections import Detections
from pc3d.models.heads.segmentation import PointSegmenter


@dataclass(frozen=True)
class Model:
    """A fine-tuned model.

    Attributes:
        network: in evaluation mode. task: `lidarseg`, `detection` or `map`.
        columns: names of the columns of a cloud.
        names: of the labels that it predicts, where the checkpoint says them.
    """

    network: PointSegmenter | BevModel
    task: str
    columns: tuple[str, ...]
    names: tuple[str, ...]


def load_model(source: str | Path, device: str | torch.device = "cpu") -> Model:
    """The fine-tuned model of a checkpoint.

    Args:
        source: `segmenter`, `detector` or `map_segmenter.safetensors`, a run folder, or `hf://OWNER/NAME/FILE`.

    Raises:
        DataError: there is no such checkpoint, it holds a backbone, or its model reads cameras.
    """
    path = local_path(source, f"{FILES['detection']}.safetensors")
    if path.is_dir():
        files = [path / f"{name}.safetensors" for name in FILES.values()]
        path = next((file for file in files if file.is_file()), files[0])
    task = task_of(path)
    network = load_segmenter(path) if task == "lidarseg" else load_bev_model(path)
    if isinstance(network, BevModel) and network.network.image is not None:
        fail(
            "the model reads cameras, which need their calibration and the pose of each exposure",
            path,
            "index the drives and run `pc3d evaluate`, or pc3d.evaluate",
        )
    names: Sequence[str] = ()
    if isinstance(network, BevDetector):
        names = network.head.detection
    elif (classes := classes_of_model(path)) is not None:
        names = classes.classes
    columns = point_columns(frames_of(path).features)
    return Model(network.to(device).eval(), task, columns, tuple(names))


@torch.no_grad()
def predict(model: Model | str | Path, clouds: Sequence[Cloud]) -> list[Tensor] | list[Detections]:
    """What a model says of clouds, one by one or as a batch.

    Args:
        model: of `load_model`, or what it takes.
        clouds: arrays or tensors (N, columns): x y z (m, LiDAR frame), intensity in 0..1, and what else the
            model's `columns` name.

    Returns:
        For each cloud: of a segmenter (N,) int64 labels; of a detector its `Detections`, best first, in the
        LiDAR frame; of a map segmenter (classes, rows, cols) probabilities.

    Raises:
        ValueError, DataError: as `load_model` and `Backbone.encode`.
    """
    if not isinstance(model, Model):
        model = load_model(model)
    network: nn.Module = model.network
    view = view_of_clouds(clouds, model.columns, next(network.parameters()).device)
    if isinstance(model.network, PointSegmenter):
        sizes = torch.bincount(view.batch, minlength=view.size).tolist()
        return list(model.network.predict(view).split(sizes))
    bev = model.network.network
    assert bev.lidar is not None
    features = bev.backbone(bev.fuser(bev.lidar(view, want_bev=True).bev))
    if isinstance(model.network, BevDetector):
        return model.network.head.decode(model.network.head(features))
    return list(model.network.head.predict(features))  # type: ignore[operator]
