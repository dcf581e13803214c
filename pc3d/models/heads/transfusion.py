"""TransFusion's LiDAR head: a box for each of a few queries on a BEV map (Bai et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.data.classes import common_detection
from pc3d.geometry.grid import BevGrid
from pc3d.models.build import build, require_weight
from pc3d.models.heads.center_code import BRANCHES, CODE_WEIGHTS, decode_boxes
from pc3d.models.heads.center_losses import code_l1_loss, heatmap_focal_loss
from pc3d.models.heads.center_targets import GroupTargets, center_targets, check_options
from pc3d.models.heads.detections import (
    CENTRE_RANGE,
    Detections,
    check_centre_range,
    in_range,
    labels_of,
)
from pc3d.models.heads.focal_loss import sigmoid_focal_loss, start_rare
from pc3d.models.heads.transfusion_matching import MatchingCost, match
from pc3d.models.lidar.bev_backbone import conv_norm_relu
from pc3d.ops.device import constant, to_device
from pc3d.ops.precision import full_precision, layer_in_full

_SMALL = ("pedestrian", "person", "cone")


@dataclass(frozen=True)
class QueryOutputs:
    """What the head gives for a batch: Q queries a sample, K classes.

    Attributes:
        heatmap: (B, K, rows, cols) logits of centres, where the queries come from.
        channel: (B, Q) int64 class that each query was found as. confidence: (B, Q) its value there.
        codes: after each decoder layer (B, Q, 10), as `encode_boxes`, but the first two numbers are the
            centre in cells from the corner of the grid.
        logits: after each decoder layer (B, Q, K).
    """

    heatmap: Tensor
    channel: Tensor
    confidence: Tensor
    codes: list[Tensor]
    logits: list[Tensor]


class _Prediction(nn.Module):
    """From the feature of a query to the numbers of its box and its classes: an MLP each."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Conv1d(channels, width, 1, bias=False),
                    nn.BatchNorm1d(width),
                    nn.ReLU(inplace=True),
                    nn.Conv1d(width, size, 1),
                )
                for name, size in {**BRANCHES, "classes": classes}.items()
            }
        )
        start_rare(self.branches["classes"][-1])  # type: ignore[index]

    def forward(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Q, channels) to codes (B, Q, 10), centres relative to the query, and logits (B, Q, K)."""
        features = queries.transpose(1, 2)
        out = {
            name: layer_in_full(branch[-1], branch[:-1](features))  # type: ignore[index]
            for name, branch in self.branches.items()
        }
        code = torch.cat([out[name] for name in BRANCHES], dim=1)
        return code.transpose(1, 2), out["classes"].transpose(1, 2)


class TransFusionHead(nn.Module):
    """Queries at the peaks of a heatmap, a transformer decoder over the map, and one box for each query.

    A query is the map's feature at the peak plus an embedding of the class that the peak was found as
    (section 3.2). Positions are embedded by an MLP and added before each decoder layer, which is torch's own
    (DETR's layer adds them inside of the attention only). Training matches boxes one to one
    (`MatchingCost`); there is no suppression when decoding. With several layers each is supervised, and the
    next one starts from its centres.

    Args:
        in_channels: width of the BEV map. grid: its cells; the boxes are in its frame.
        classes: names of those that are detected, None for all of `detection`; boxes of others are ignored.
        queries: peaks of a sample that are taken (200: the paper's number for nuScenes).
        dense_classes: so small that every cell, not only a peak, may become a query. None: those whose name
            says that they are a pedestrian, a person or a cone.
        channels, heads, feedforward, dropout, layers: of the decoder. head_channels: of the MLPs.
        min_overlap, min_radius (cells): of the heatmap's Gaussians, see `gaussian_radius`.
        heatmap_weight, class_weight, box_weight: of the three terms of the loss.
        code_weights: 10 weights of the numbers of a code, in the order of `BRANCHES`.
        matching: options of `MatchingCost` that differ from its defaults.
        score_threshold: below it nothing is a detection. centre_range: see `CENTRE_RANGE`.
        detection: classes of the data; class k is label k. None for the common ones.

    Raises:
        ValueError: an unknown or repeated class, or an option out of its range.
    """

    def __init__(
        self,
        in_channels: int,
        grid: BevGrid,
        classes: Sequence[str] | None = None,
        queries: int = 200,
        dense_classes: Sequence[str] | None = None,
        channels: int = 128,
        heads: int = 8,
        feedforward: int = 256,
        dropout: float = 0.1,
        layers: int = 1,
        head_channels: int = 64,
        min_overlap: float = 0.1,
        min_radius: int = 2,
        heatmap_weight: float = 1.0,
        class_weight: float = 1.0,
        box_weight: float = 0.25,
        code_weights: Sequence[float] = CODE_WEIGHTS,
        matching: Mapping[str, Any] | None = None,
        score_threshold: float = 0.0,
        centre_range: Sequence[float] = CENTRE_RANGE,
        detection: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.detection = tuple(common_detection() if detection is None else detection)
        (self.labels,) = labels_of([self.detection if classes is None else classes], self.detection)
        if queries < 1 or layers < 1:
            raise ValueError(f"queries {queries} and layers {layers} must be positive")
        if channels % heads:
            raise ValueError(f"heads {heads} must divide channels {channels}")
        check_options(min_overlap, min_radius, code_weights)
        require_weight(heatmap_weight=heatmap_weight, class_weight=class_weight, box_weight=box_weight)
        if not 0 <= score_threshold < 1:
            raise ValueError(f"score_threshold {score_threshold} must lie in 0..1")
        check_centre_range(centre_range)
        self.grid, self.queries = grid, queries
        self.min_overlap, self.min_radius = min_overlap, min_radius
        self.heatmap_weight, self.class_weight, self.box_weight = heatmap_weight, class_weight, box_weight
        self.score_threshold, self.centre_range = score_threshold, tuple(centre_range)
        self.cost = build(
            {**(matching or {}), "type": "MatchingCost"}, {"MatchingCost": MatchingCost}, "matching"
        )
        self.shared = nn.Conv2d(in_channels, channels, 3, padding=1)
        last = nn.Conv2d(channels, len(self.labels), 3, padding=1)
        start_rare(last)
        self.heatmap = nn.Sequential(*conv_norm_relu(channels, channels), last)
        self.class_embedding = nn.Embedding(len(self.labels), channels)
        self.query_position, self.cell_position = (_position_mlp(channels) for _ in range(2))
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(channels, heads, feedforward, dropout, batch_first=True)
            for _ in range(layers)
        )
        self.predictions = nn.ModuleList(
            _Prediction(channels, head_channels, len(self.labels)) for _ in range(layers)
        )
        self.code_weights: Tensor
        self.register_buffer("code_weights", torch.tensor(code_weights), persistent=False)
        self.dense: Tensor
        small_names = _small(self.detection) if dense_classes is None else dense_classes
        (small,) = labels_of([small_names], self.detection) if small_names else ([],)
        dense = torch.tensor([label in small for label in self.labels])
        self.register_buffer("dense", dense, persistent=False)
        self.middles: Tensor
        self.register_buffer("middles", _middles(grid), persistent=False)

    def forward(self, bev: Tensor) -> QueryOutputs:
        """Queries and their boxes.

        Args:
            bev: (B, in_channels, rows, cols) on `grid`.

        Raises:
            ValueError: the map is not on the grid.
        """
        self.grid.check_map(bev.shape)
        shared = self.shared(bev)
        heatmap = self.heatmap(shared)
        confidence, channel, cell = self._peaks(heatmap.detach())
        cells = shared.flatten(2).transpose(1, 2)
        query = cells.gather(1, cell[:, :, None].expand(-1, -1, cells.shape[2]))
        query = query + self.class_embedding(channel)
        memory = cells + self._embedded(self.cell_position, self.middles)
        position = self.middles[cell]
        codes, logits = [], []
        for layer, predict in zip(self.decoder, self.predictions, strict=True):
            query = layer(query + self._embedded(self.query_position, position), memory)
            code, of_classes = predict(query)
            code = torch.cat([code[:, :, :2] + position, code[:, :, 2:]], dim=2)
            codes.append(code)
            logits.append(of_classes)
            position = code[:, :, :2].detach()
        return QueryOutputs(heatmap, channel, confidence, codes, logits)

    def _peaks(self, heatmap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, class and cell (B, Q) of the highest peaks of the heatmap, logits."""
        scores = heatmap.float().sigmoid()
        peak = (scores == F.max_pool2d(scores, 3, stride=1, padding=1)) | self.dense[:, None, None]
        flat = torch.where(peak, scores, 0).flatten(1)
        best, index = flat.topk(min(self.queries, flat.shape[1]), dim=1)
        size = self.grid.rows * self.grid.cols
        return best, index // size, index % size

    def _embedded(self, embed: nn.Module, position: Tensor) -> Tensor:
        """Embeddings of coordinates in cells, which enter as -1..1 over the grid."""
        size = constant([self.grid.cols, self.grid.rows], position)
        return layer_in_full(embed, 2 * position / size - 1)

    @full_precision
    def loss(
        self, outputs: QueryOutputs, boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Terms of the loss; their sum is the loss.

        Args:
            outputs: of `forward`.
            boxes, labels: as in `CenterHead.loss`.

        Returns:
            `loss_heatmap` over its centres, `loss_class` and `loss_box` over the matched queries of the
            batch (at least 1), each weighted, float32, the last two summed over the decoder layers. A query
            that no box was matched with is a negative of every class.

        Raises:
            ValueError: see `center_targets`; or another number of samples than the outputs have.
        """
        if len(boxes) != len(outputs.heatmap):
            raise ValueError(f"boxes of {len(boxes)} samples for outputs of {len(outputs.heatmap)}")
        (target,) = center_targets(boxes, labels, [self.labels], self.grid, self.min_overlap, self.min_radius)
        matches = self._all_matches(outputs, target)
        target = target.to(outputs.heatmap.device)
        layers = [
            self._layer_loss(code, logits.float(), target, match)
            for code, logits, match in zip(outputs.codes, outputs.logits, matches, strict=True)
        ]
        of_classes, of_boxes = (torch.stack(terms).sum() for terms in zip(*layers, strict=True))
        return {
            "loss_heatmap": self.heatmap_weight * heatmap_focal_loss(outputs.heatmap, target.heatmap),
            "loss_class": self.class_weight * of_classes,
            "loss_box": self.box_weight * of_boxes,
        }

    def _layer_loss(
        self, code: Tensor, logits: Tensor, target: GroupTargets, match: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Class and box loss of one decoder layer, not weighted."""
        sample, query, row = match
        wanted = torch.zeros_like(logits)
        wanted[sample, query, target.channel[row]] = 1
        of_classes = sigmoid_focal_loss(logits, wanted, self.cost.gamma, self.cost.alpha).sum()
        absolute = target.code.clone()
        absolute[:, :2] += target.cell.flip(1)
        of_boxes = code_l1_loss(code[sample, query], absolute[row], target.known[row], self.code_weights)
        return of_classes / max(len(row), 1), of_boxes

    @torch.no_grad()
    def _all_matches(self, outputs: QueryOutputs, target: GroupTargets) -> list[list[Tensor]]:
        """`_matches` of each layer on the device of the outputs; found in the host's memory, read at once."""
        device, target = outputs.heatmap.device, target.to(torch.device("cpu"))
        layers = zip(outputs.codes, outputs.logits, strict=True)
        joined = torch.stack([torch.cat([code.float(), logits.float()], dim=2) for code, logits in layers])
        widths = [joined.shape[3] - outputs.logits[0].shape[2], outputs.logits[0].shape[2]]
        parts = (layer.split(widths, dim=2) for layer in joined.cpu())
        found = (self._matches(code, logits, target) for code, logits in parts)
        return [[to_device(part, device) for part in match] for match in found]

    def _matches(self, code: Tensor, logits: Tensor, target: GroupTargets) -> tuple[Tensor, Tensor, Tensor]:
        """Sample, query and row of the target of each matched pair."""
        truth = decode_boxes(target.code, target.cell, self.grid)
        parts = []
        for b in range(len(code)):
            rows = (target.sample == b).nonzero()[:, 0]
            found = self._boxes(code[b])
            costs = self.cost.costs(logits[b], found, truth[rows], target.channel[rows], self.grid)
            query, column = match(costs)
            parts.append((torch.full_like(query, b), query, rows[column]))
        sample, query, row = (torch.cat(items) for items in zip(*parts, strict=True))
        return sample, query, row

    def _boxes(self, code: Tensor) -> Tensor:
        """(Q, 9) boxes of codes with centres in cells."""
        return decode_boxes(code, code.new_zeros((len(code), 2)), self.grid)

    @torch.no_grad()
    @full_precision
    def decode(self, outputs: QueryOutputs) -> list[Detections]:
        """The boxes of each sample, best first, in the frame of the grid.

        A query keeps the class that it was found as; its score is the heatmap's value there times the
        probability of that class after the last layer.
        """
        known = constant(self.labels, outputs.channel)
        of_class = outputs.logits[-1].float().sigmoid().gather(2, outputs.channel[:, :, None])[:, :, 0]
        samples = zip(outputs.codes[-1], outputs.confidence * of_class, known[outputs.channel], strict=True)
        found = [Detections(self._boxes(code), scores, labels) for code, scores, labels in samples]
        return [
            item[(item.scores > self.score_threshold) & in_range(item.boxes, self.centre_range)].best_first()
            for item in found
        ]


def _small(names: Sequence[str]) -> tuple[str, ...]:
    """Classes that a name says to be small from above."""
    return tuple(name for name in names if any(word in name.lower() for word in _SMALL))


def _position_mlp(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels))


def _middles(grid: BevGrid) -> Tensor:
    """(rows * cols, 2) x and y of the middles of the cells, in cells from the corner."""
    row, col = torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.cols), indexing="ij")
    return torch.stack([col, row], dim=2).flatten(0, 1) + 0.5
