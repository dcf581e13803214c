"""OBoW for sweeps (Gidaris et al., "Online Bag-of-Visual-Words Generation", CVPR 2021)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.bag_of_words import bag_loss, bags_of, perplexity, word_codes, word_logits
from pc3d.contrast.nce import zero_with_graph
from pc3d.contrast.policy import Part
from pc3d.contrast.queue import FeatureQueue
from pc3d.data.batch import Needs
from pc3d.models.lidar.base import LidarEncoder
from pc3d.models.lidar.momentum import MomentumEncoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import loaded_xyz
from pc3d.ops.segment import segment_mean

SMALLEST = 1e-6


class Words(Part):
    """The vocabulary: a queue of features of the momentum encoder, and the scale of its distances.

    Args:
        count: K words. dim: of a word. momentum: of the mean smallest distance m, 0.99; it starts at 0.5.
    """

    def __init__(self, count: int, dim: int, momentum: float = 0.99) -> None:
        super().__init__()
        self.queue, self.momentum = FeatureQueue(count, dim), momentum
        self.register_buffer("scale", torch.tensor(0.5))
        self.scale: Tensor
        self._near: list[Tensor] = []

    def see(self, new: Tensor, near: Tensor | None) -> None:
        """Keep (M, D) new words, and the mean smallest distance of this step, for the end of it."""
        if self.training:
            self.queue.push(new)
            if near is not None:
                self._near.append(near)

    @torch.no_grad()
    def commit(self) -> None:
        if not self.training:
            return
        self.queue.commit()
        near, self._near = self._near, []
        if near and bool(torch.stack(near).isfinite().all()):
            mean = torch.stack(near).mean().to(self.scale)
            self.scale.lerp_(mean, 1 - self.momentum).clamp_(min=SMALLEST)


class BagOfWords(Objective):
    """A part of a sector of the sweep predicts which visual words the whole sector contains.

    Words are a queue of point features of the momentum encoder; the code of a point of view "b" is a
    softmax over its distances to them, a bag the maximum over a sector's points. The student pools a random
    half of the sector's points of view "a", and its weights for a word are generated from the word
    (`contrast.bag_of_words`). Nothing is lost before the queue has been filled once.

    Sectors of a sweep are the documents because batches are small, and the random half is a part of the
    pooling, not of what the network sees (ours; the paper crops images). Cells are of unit length, words are
    single points and of one level of features (ours; the authors: as the network gives them, means of 3x3
    cells, two levels).

    Args:
        lidar: the encoder that is trained.
        words: K, at least 2, 1024 (the authors': 8192). sectors: of a sweep, 12.
        new_words: points of a sweep that enter the queue in a step, 64 (ours; the authors': one of each
            image).
        hidden: width of the generator, 128. inverse: of the softness of a code, 15. sharpness: of the
            prediction, 8. momentum: 0.99; steps: over which it rises to 1 (an option of the authors' code);
            None: it stays.
    """

    needs = Needs(views=2)
    learns_from = "sector of a sweep"

    def __init__(
        self,
        lidar: LidarEncoder,
        words: int = 1024,
        sectors: int = 12,
        new_words: int = 64,
        hidden: int = 128,
        inverse: float = 15.0,
        sharpness: float = 8.0,
        momentum: float = 0.99,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        if words < 2 or min(sectors, new_words) < 1 or inverse <= 0 or sharpness <= 0:
            raise ValueError(
                f"words {words}, sectors {sectors}, new_words {new_words}, inverse {inverse}, sharpness "
                f"{sharpness}: expected at least 2, 1 and 1, and above 0"
            )
        width = lidar.point_channels
        self.key = MomentumEncoder(lidar, momentum, steps)
        self.words = Words(words, width)
        self.generator = nn.Sequential(
            nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width)
        )
        self.sectors, self.new_words, self.inverse, self.sharpness = sectors, new_words, inverse, sharpness

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        if self.training:
            self.key.update(encodings.lidar_encoder)
        size, count = len(encodings.batch), len(encodings.batch) * self.sectors
        cells, document, sample = self._cells(encodings)
        student = encodings.lidar("a")
        share = torch.tensor(len(cells) / max(encodings.batch.now.num_points, 1))
        new = self._drawn(cells, sample, size, encodings.generator)
        half = torch.rand(len(student.points), generator=encodings.generator).to(cells.device) < 0.5
        if not self.words.queue.full or not len(cells):
            self.words.see(new, None)
            warming = zero_with_graph(student.points, *self.generator.parameters())
            documents = torch.tensor(float(len(document.unique())))
            return {"loss": warming, "examples": documents, "point_share": share}
        words = self.words.queue.rows().to(cells)
        codes, near = word_codes(cells, words, self.inverse, float(self.words.scale))
        self.words.see(new, near)
        bags, whole = bags_of(codes, document, count)
        kept = (half & student.valid).nonzero()[:, 0]
        pooled, members = segment_mean(
            student.points.float()[kept], self._sector(encodings, "a", kept), count
        )
        used = whole & (members > 0)
        logits = word_logits(pooled[used], self.generator(F.normalize(words, dim=1)), self.sharpness)
        logged = {
            "examples": used.sum().float(),
            "point_share": share,
            "bag_perplexity": perplexity(bags[used]),
            "batch_perplexity": perplexity(bags[used].mean(dim=0, keepdim=True)),
        }
        return {"loss": bag_loss(logits, bags[used]), **logged, **encodings.collapse(pooled[used].detach())}

    def _cells(self, encodings: Encodings) -> tuple[Tensor, Tensor, Tensor]:
        """(M, C) unit momentum features of the points of view "b", their document and sweep."""
        features = encodings.lidar("b", key_encoder=self.key)
        index = features.valid.nonzero()[:, 0]
        sample = encodings.batch.now.views["b"].batch[index]
        cells = F.normalize(features.points[index].float(), dim=1)
        return cells, self._sector(encodings, "b", index), sample

    def _sector(self, encodings: Encodings, view: str, index: Tensor) -> Tensor:
        """Document of points: a sector of azimuth in the frame of the loaded sweep, of its sweep."""
        cloud = encodings.batch.now.views[view]
        xyz = loaded_xyz(cloud, index)
        turn = torch.atan2(xyz[:, 1], xyz[:, 0]) / (2 * math.pi) + 0.5
        return cloud.batch[index] * self.sectors + (turn * self.sectors).long().clamp(0, self.sectors - 1)

    def _drawn(self, cells: Tensor, sample: Tensor, size: int, generator: torch.Generator) -> Tensor:
        order = torch.randperm(len(cells), generator=generator).to(cells.device)
        chosen = [order[sample[order] == b][: self.new_words] for b in range(size)]
        return cells[torch.cat(chosen)]
