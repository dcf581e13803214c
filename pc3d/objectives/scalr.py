"""ScaLR (Puy et al., "Three pillars improving vision foundation model distillation for lidar", CVPR 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.distillation import check_distance, feature_distance
from pc3d.contrast.nce import info_nce
from pc3d.data.batch import Needs, Pairs
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.matches import matched_pixels, pixels_at
from pc3d.objectives.scene import POOLS, pooled_maps, pooled_points

HEADS = ("linear", "mlp")


class ScaLR(Objective):
    """mean over matched points of || norm(point feature) - norm(image feature) ||_2, without negatives.

    A head brings the points to the width of the teacher, whose map is read at the points by bilinear
    interpolation (the authors' code reads the nearest pixel of the upsampled map). No gradient reaches
    the image encoder: without negatives, a teacher that learned would collapse.

    The options are those of ScaLR+ (the authors' code, branch `scalr_plus`: an MLP head) and of HilDA, as
    reported (each of the last two layers with a head of its own, cosine, one vector of the scene); the
    defaults are the paper's form.

    Args:
        lidar: the encoder that is trained. image: the teacher, a frozen DINOv2 ViT-L in the paper.
        num_pairs: random pairs of a batch; None, all of them, is the paper's form.
        head: `linear` (the paper) or `mlp`, two layers with a GELU between.
        hidden: width between the layers of an MLP, 2048 in ScaLR+.
        layers: levels of the teacher's pyramid by their place from its end, (-2, -1) for the last two, each
            with its own head and read at its own resolution; the loss is the mean of theirs. None: one
            head for the encoder's map, which joins all levels.
        distance: `l2`, or `cosine`, 1 - cos.
        scene_weight: of the same distance between one vector of the points and one of the teacher, for each
            sample: the largest value of each channel over its matched points, behind a head of its own,
            and the pooled map of the last of `layers` over its cameras. HilDA pools the class tokens of a
            ViT, which a map does not have.
        scene_pool: `max` or `mean` over the cells of the teacher's map.
        standardise: the teacher's channels are standardised over the pairs of the batch before they are
            normalised (batch norm without weights), so that no channel decides the direction by its scale
            alone. Ours, for convolutional teachers, whose channels differ by orders of magnitude.
        temperature: None, or that of an InfoNCE over the pairs of the batch, in the teacher's own space,
            which then stands in for their distance: PPKT's contrast (arXiv 2104.04687) without
            its pixel head. Its logits are num_pairs squared. Ours.

    Raises:
        ValueError: the teacher has no such layer, or an option is unknown.
    """

    needs = Needs(images=True)
    reads_image = True
    learns_from = "point-pixel pair"
    terms: Mapping[str, str] = {"scene": "no sample has a point with a pixel"}
    later: ClassVar[Mapping[str, Any]] = {
        **{"head": "linear", "hidden": 2048, "layers": None, "distance": "l2"},
        **{"scene_weight": 0.0, "scene_pool": "max", "standardise": False},
        "temperature": None,
    }

    def __init__(
        self,
        lidar: LidarEncoder,
        image: ImageEncoder,
        num_pairs: int | None = None,
        head: Literal["linear", "mlp"] = "linear",
        hidden: int = 2048,
        layers: tuple[int, ...] | None = None,
        distance: Literal["l2", "cosine"] = "l2",
        scene_weight: float = 0.0,
        scene_pool: Literal["max", "mean"] = "max",
        standardise: bool = False,
        temperature: float | None = None,
    ) -> None:
        super().__init__()
        check_distance(distance)
        if temperature is not None and (temperature <= 0 or num_pairs is None):
            raise ValueError(f"temperature is {temperature}, num_pairs {num_pairs}: both must be positive")
        for name, value, known in (("head", head, HEADS), ("scene_pool", scene_pool, POOLS)):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
        self.layers = None if layers is None else check_layers(layers, image)
        self.num_pairs, self.distance, self.temperature = num_pairs, distance, temperature
        self.scene_weight, self.scene_pool = scene_weight, scene_pool
        self.terms = type(self).terms if scene_weight else {}
        width = lidar.point_channels
        widths = [image.channels] if layers is None else [image.level_channels[layer] for layer in layers]
        if self.layers is None:
            self.head = _head(head, width, hidden, image.channels)
        else:
            self.heads = nn.ModuleList(_head(head, width, hidden, channels) for channels in widths)
        self.scene_head = _head(head, width, hidden, widths[-1]) if scene_weight else None
        norms = [nn.BatchNorm1d(channels, affine=False) for channels in widths] if standardise else []
        self.teacher_norms = nn.ModuleList(norms)

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        pairs, index, share = matched_pixels(encodings, self.num_pairs)
        features = encodings.lidar("a").points[index]
        teachers = self._teachers(encodings)
        losses = []
        for number, (head, maps) in enumerate(zip(self._heads, teachers, strict=True)):
            points = F.normalize(head(features).float(), dim=1)
            pixels = pixels_at(maps, pairs, encodings)
            if self.teacher_norms and len(pixels) > 1:  # one has no deviation
                pixels = self.teacher_norms[number](pixels)
            pixels = F.normalize(pixels, dim=1)
            losses.append(self._apart(points, pixels))
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        logged = {"examples": torch.tensor(float(len(points))), "point_share": share}
        if len(losses) > 1:
            logged |= {
                f"layer{layer}": one.detach() for layer, one in zip(self.layers or (), losses, strict=True)
            }
        if self.scene_head is not None:
            scene, count = self._scene(self.scene_head(features), pairs, teachers[-1], encodings)
            logged |= {"pixels": loss.detach(), "scene": scene.detach(), "scene_examples": count}
            loss = loss + self.scene_weight * scene
        return {"loss": loss, **logged, **encodings.collapse(points, pixels)}

    def _apart(self, points: Tensor, pixels: Tensor) -> Tensor:
        if self.temperature is None:
            return feature_distance(points, pixels, self.distance)
        return info_nce(points, pixels, self.temperature)

    @property
    def _heads(self) -> Sequence[nn.Module]:
        return [self.head] if self.layers is None else list(self.heads)

    def _teachers(self, encodings: Encodings) -> list[Tensor]:
        """The maps that the heads are compared with."""
        if self.layers is None:
            return [encodings.image().detach().float()]
        levels = encodings.pyramid()
        return [levels[layer].detach().float() for layer in self.layers]

    def _scene(
        self, points: Tensor, pairs: Pairs, maps: Tensor, encodings: Encodings
    ) -> tuple[Tensor, Tensor]:
        """The distance of the scene vectors, and the number of samples that have both."""
        now = encodings.batch.now
        assert now.camera_mask is not None
        sample = now.row_batch[pairs.row]
        size = len(encodings.batch)
        has = torch.bincount(sample, minlength=size) > 0
        ours = F.normalize(pooled_points(points.float(), sample, size)[has], dim=1)
        theirs = F.normalize(pooled_maps(maps, now.camera_mask, self.scene_pool)[has], dim=1)
        return feature_distance(ours, theirs, self.distance), has.sum().float()


def check_layers(layers: Sequence[int], image: ImageEncoder) -> tuple[int, ...]:
    """The layers as they are, where a teacher has each of them.

    Raises:
        ValueError: it has fewer levels, or layers are not counted from the end, each once.
    """
    count = len(image.level_channels)
    if not layers or len(set(layers)) < len(layers) or not all(-count <= layer <= -1 for layer in layers):
        known = ", ".join(str(-n) for n in range(count, 0, -1))
        more = "; give it more (`levels` of EfficientNetLite0, `stages` of TransformersEncoder)"
        levels = "1 level" if count == 1 else f"{count} levels"
        raise ValueError(
            f"layers {tuple(layers)} of a teacher with {levels}: expected some of {known}, each once, or "
            f"None for its whole map{more if count == 1 else ''}"
        )
    return tuple(layers)


def _head(kind: str, in_channels: int, hidden: int, out_channels: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(in_channels, out_channels)
    return nn.Sequential(nn.Linear(in_channels, hidden), nn.GELU(), nn.Linear(hidden, out_channels))
