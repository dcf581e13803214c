"""Bird's-eye-view detector and map segmenter: a `BevNetwork` under one head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pc3d.data.batch import Batch, Needs
from pc3d.data.detection import counted_boxes, view_boxes
from pc3d.data.frame_types import BEVFUSION_MAP_GRID
from pc3d.data.plugins import Registry
from pc3d.geometry.grid import BevGrid
from pc3d.models.bev.network import BevNetwork
from pc3d.models.build import build
from pc3d.models.heads.center_point import CenterHead
from pc3d.models.heads.detections import Detections
from pc3d.models.heads.map_segmentation import MapHead
from pc3d.models.heads.transfusion import TransFusionHead

DETECTION_HEADS: Registry[CenterHead | TransFusionHead] = Registry(
    nn.Module, {"CenterHead": CenterHead, "TransFusionHead": TransFusionHead}
)
"""One of the user's own (`module:Class`) has their `forward`, `loss` and `decode`, and `labels`."""


class BevModel(nn.Module):
    """Base of the models that read a BEV map.

    Attributes:
        network: branches, fuser, BEV backbone. head: of the task.
        frame_needs: what the task asks of the loader, beside what the branches read.
        learns_from: one of `examples`, for a person; None where a batch may well have none.
    """

    frame_needs: ClassVar[Needs]
    learns_from: ClassVar[str | None] = None
    network: BevNetwork
    head: nn.Module

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The parts that pretraining gives weights to: `lidar`, `image`, `camera`."""
        return self.network.parts

    @property
    def needs(self) -> Needs:
        """What training asks of the loader."""
        return self.frame_needs | self.input_needs

    @property
    def input_needs(self) -> Needs:
        """What prediction asks of the loader."""
        return Needs(images=self.network.image is not None)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Terms of the loss on view "a" of the key frames; their sum is the loss."""
        raise NotImplementedError

    def examples(self, batch: Batch) -> Tensor:
        """How much the loss of a batch learned from."""
        raise NotImplementedError

    def predict(self, batch: Batch) -> list[Any]:
        """One prediction for each sample, in the frame of view "a"."""
        raise NotImplementedError


class BevDetector(BevModel):
    """3D boxes on the fused map, by a head of `DETECTION_HEADS`; "CenterHead" where none is named."""

    frame_needs = Needs(boxes=True)
    head: CenterHead | TransFusionHead

    def __init__(self, network: BevNetwork, **head: Any) -> None:
        super().__init__()
        self.network = network
        self.head = build(
            {"type": "CenterHead", **head, "in_channels": network.channels, "grid": network.grid},
            DETECTION_HEADS,
            "head",
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """As the head's.

        Raises:
            ValueError: the batch was loaded without boxes.
        """
        frame, affine = batch.now, batch.host.now.views["a"].lidar_SE3
        if frame.boxes is None or frame.box_labels is None:
            raise ValueError("the batch has no boxes: ask the loader for them (Needs(boxes=True))")
        targets = [
            view_boxes(*sample, affine[b].numpy())
            for b, sample in enumerate(zip(frame.boxes, frame.box_labels, strict=True))
        ]
        boxes, labels = (list(items) for items in zip(*targets, strict=True))
        return self.head.loss(self.head(self.network(frame)), boxes, labels)

    @property
    def labels(self) -> set[int]:
        """Labels of the detection classes that the head knows."""
        head = self.head
        return set().union(*(head.groups if isinstance(head, CenterHead) else [head.labels]))

    def examples(self, batch: Batch) -> Tensor:
        """Boxes of a detection class."""
        samples = zip(batch.now.boxes or (), batch.now.box_labels or (), strict=True)
        return torch.tensor(float(sum(counted_boxes(*sample).sum() for sample in samples)))

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Detections]:
        """The detections of each sample, best first."""
        return self.head.decode(self.head(self.network(batch.now)))


class BevMapSegmenter(BevModel):
    """Masks of the map's classes, as BEVFusion (Liu et al., ICRA 2023) has them, on the fused map.

    Args:
        network: branches, fuser, BEV backbone.
        map_grid: of the masks, a `BevGrid` or a dictionary of its fields: the loader's `map_grid`.
        head: other arguments of `MapHead`.
    """

    frame_needs = Needs(maps=True)
    learns_from = "cell of a class of the map"
    head: MapHead

    def __init__(
        self,
        network: BevNetwork,
        map_grid: BevGrid | Mapping[str, float] = BEVFUSION_MAP_GRID,
        **head: Any,
    ) -> None:
        super().__init__()
        self.network = network
        grid = map_grid if isinstance(map_grid, BevGrid) else BevGrid(**map_grid)
        own = {"in_channels": network.channels, "bev_grid": network.grid, "map_grid": grid}
        self.head = build({"type": "MapHead", **head, **own}, {"MapHead": MapHead}, "head")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """As `MapHead.loss`.

        Raises:
            ValueError: the batch was loaded without maps, or on another grid.
        """
        if batch.now.maps is None:
            raise ValueError("the batch has no maps: ask the loader for them (Needs(maps=True))")
        return self.head.loss(self.head(self.network(batch.now)), batch.now.maps)

    def examples(self, batch: Batch) -> Tensor:
        """Cells that a class of the map covers."""
        assert batch.now.maps is not None
        return batch.now.maps.sum().float()

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Tensor]:
        """(6, rows, cols) probabilities of `MAP_CLASSES` of each sample, on the head's `map_grid`."""
        return list(self.head.predict(self.network(batch.now)))


BEV_MODELS: dict[str, type[BevModel]] = {"detection": BevDetector, "map": BevMapSegmenter}
"""The models by the name of their task."""


def build_bev_model(task: str, network: Mapping[str, Any], head: Mapping[str, Any]) -> BevModel:
    """The model of a task, randomly initialised.

    Args:
        task: key of `BEV_MODELS`. network: arguments of `BevNetwork`. head: arguments of the head.

    Raises:
        ValueError: unknown task or argument.
    """
    if task not in BEV_MODELS:
        raise ValueError(f"unknown task {task!r}; known: lidarseg, {', '.join(BEV_MODELS)}")
    built = build({"type": "BevNetwork", **network}, {"BevNetwork": BevNetwork}, "network")
    return BEV_MODELS[task](built, **head)
