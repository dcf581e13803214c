"""Point features and labels of a subsample of the points, for the quick probes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from pc3d.data.batch import Batch
from pc3d.models.lidar.base import LidarEncoder
from pc3d.ops.sampling import balanced_sample


class PointFeatures(NamedTuple):
    """N sampled points, on the CPU.

    Attributes:
        features: (N, C) float32.
        labels: (N,) int64 >= 0.
        valid: (N,) bool, False where the point lies outside the encoder's range (zero features).
        sweep: (N,) int64 index into `tokens`.
        tokens: sweep token of each sweep, in the loader's order.
    """

    features: Tensor
    labels: Tensor
    valid: Tensor
    sweep: Tensor
    tokens: list[str]

    def within_range(self) -> PointFeatures:
        """Only the points that the encoder sees: what a probe is fitted on."""
        keep = self.valid
        return PointFeatures(
            self.features[keep], self.labels[keep], keep[keep], self.sweep[keep], self.tokens
        )


def sample_points(labels: Tensor, count: int, generator: torch.Generator, balanced: bool = False) -> Tensor:
    """Draw labelled points without repeats.

    Args:
        labels: (P,) int64, negative is ignored.
        count: points to draw; all labelled ones where there are fewer.
        generator: on the CPU.
        balanced: deal the draw over the classes as evenly as they last; else uniform.

    Returns:
        (M,) int64 ascending rows, M <= count.
    """
    groups = labels.cpu()
    if not balanced:
        groups = groups.clamp(max=0)  # one group: a uniform draw
    return balanced_sample(groups, count, generator).sort().values


@torch.no_grad()
def collect_features(
    encoder: LidarEncoder,
    loader: Iterable[Batch],
    points_per_sweep: int,
    generator: torch.Generator,
    balanced: bool = False,
) -> PointFeatures:
    """Encode the key frames of a loader and keep some labelled points of each sweep.

    Which points are drawn depends on the labels and the generator alone, so that two encoders are
    compared on the same points. The encoder runs in evaluation mode and gets its mode back.

    Args:
        encoder: its device is used.
        loader: batches with labels, view "a" without augmentation, in a fixed order.
        points_per_sweep: at most so many of each sweep.
        generator: on the CPU.
        balanced: over the classes of a sweep, else uniform. Score on uniform samples: balanced
            ones change every IoU.

    Raises:
        ValueError: a batch has no labels, or no point of the loader is labelled.
    """
    device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    tokens: list[str] = []
    training = encoder.training
    encoder.eval()
    try:
        for batch in loader:
            if batch.now.labels is None:
                raise ValueError("the batch has no labels: ask the loader for them (Needs(labels=True))")
            view = batch.now.views["a"]
            labels = batch.now.labels[view.row].cpu()
            sample = view.batch.cpu()
            rows = [
                of_sweep[sample_points(labels[of_sweep], points_per_sweep, generator, balanced)]
                for of_sweep in ((sample == index).nonzero().squeeze(1) for index in range(view.size))
            ]
            chosen = torch.cat(rows)
            output = encoder(batch.to(device).now.views["a"], want_bev=False)
            picked = chosen.to(device)
            parts.append(
                (
                    output.points[picked].float().cpu(),
                    labels[chosen],
                    output.valid[picked].cpu(),
                    sample[chosen] + len(tokens),
                )
            )
            tokens.extend(batch.tokens)
    finally:
        encoder.train(training)
    if not any(len(part[1]) for part in parts):
        raise ValueError("no point of the loader is labelled: check the label map and the split")
    features, all_labels, valid, sweep = (torch.cat(column) for column in zip(*parts, strict=True))
    return PointFeatures(features, all_labels, valid, sweep, tokens)
