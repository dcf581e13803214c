"""What regions and superpixels are worth: counts, sizes, and where labels are known purity and recall.

Everything is a sum over sweeps or images, so that statistics of any number of them add up.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pc3d.data.records import Boxes
from pc3d.geometry.boxes import points_in_boxes

_Counts = TypeVar("_Counts", bound="Counts")


@dataclass(frozen=True)
class Counts:
    """Counters that add up field by field."""

    def __add__(self: _Counts, other: _Counts) -> _Counts:
        return type(self)(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def summary(self) -> dict[str, float | None]:
        """Means and shares; None where nothing was counted."""
        raise NotImplementedError


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True)
class RegionCounts(Counts):
    """Sums over sweeps.

    Attributes:
        sweeps, points: their numbers.
        regions, region_points: regions, and the points in them.
        labelled_points: region points of the sweeps that have boxes.
        pure_points: of those, points that belong with the most of their region (a box, or none).
        boxes: boxes with enough points. boxes_covered: of those, boxes that a region covers.
        classed_points: region points of the sweeps that have point labels.
        class_pure_points: of those, points of the class of most of their region.
    """

    sweeps: int = 0
    points: int = 0
    regions: int = 0
    region_points: int = 0
    labelled_points: int = 0
    pure_points: int = 0
    boxes: int = 0
    boxes_covered: int = 0
    classed_points: int = 0
    class_pure_points: int = 0

    def summary(self) -> dict[str, float | None]:
        return {
            "sweeps": self.sweeps,
            "regions per sweep": share(self.regions, self.sweeps),
            "points per region": share(self.region_points, self.regions),
            "share of foreground": share(self.region_points, self.points),
            "purity against boxes": share(self.pure_points, self.labelled_points),
            "recall of boxes": share(self.boxes_covered, self.boxes),
            "purity against point labels": share(self.class_pure_points, self.classed_points),
        }


@dataclass(frozen=True)
class SuperpixelCounts(Counts):
    """Sums over images.

    Attributes:
        images, pixels, superpixels: their numbers.
        labelled_pixels: pixels with a known label.
        pure_pixels: of those, pixels with the label of most of their superpixel.
    """

    images: int = 0
    pixels: int = 0
    superpixels: int = 0
    labelled_pixels: int = 0
    pure_pixels: int = 0

    def summary(self) -> dict[str, float | None]:
        return {
            "images": self.images,
            "superpixels per image": share(self.superpixels, self.images),
            "pixels per superpixel": share(self.pixels, self.superpixels),
            "purity against labels": share(self.pure_pixels, self.labelled_pixels),
        }


@dataclass(frozen=True)
class SemanticCounts(Counts):
    """Sums over id maps.

    Attributes:
        images, cells: their numbers, and those of their cells, whatever the resolution.
        cells_with_id: cells with an id.
        ids: different ids of an image.
        overlap: pixels by (id, label), of all images together: an id means the same in each.
    """

    images: int = 0
    cells: int = 0
    cells_with_id: int = 0
    ids: int = 0
    overlap: Counter[tuple[int, int]] = field(default_factory=Counter)

    def summary(self) -> dict[str, float | None]:
        most: Counter[int] = Counter()
        for (number, _), pixels in self.overlap.items():
            most[number] = max(most[number], pixels)
        return {
            "images": self.images,
            "ids per image": share(self.ids, self.images),
            "share with an id": share(self.cells_with_id, self.cells),
            "purity against labels": share(most.total(), self.overlap.total()),
        }


def overlaps(a: NDArray, b: NDArray, shape: tuple[int, int]) -> NDArray[np.int64]:
    """`shape` (A, B) number of places with id i < A in `a` and j < B in `b`."""
    flat = a.astype(np.int64) * shape[1] + b
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def count_regions(
    regions: NDArray,
    points: NDArray | None = None,
    boxes: Boxes | None = None,
    labels: NDArray | None = None,
    min_points: int = 5,
    min_iou: float = 0.5,
    within: float = np.inf,
) -> RegionCounts:
    """Counts of one sweep.

    Args:
        regions: (P,) int, -1 for semantic-less points.
        points: (P, >= 3) metres, LiDAR frame; needed where `boxes` are given.
        boxes: annotation of the sweep, None where there is none.
        labels: (P,) int class of each point, below 0 for none, None where there are no labels.
        min_points: boxes with fewer points are not counted.
        min_iou: a region covers a box if its points and the points in the box have this intersection
            over union.
        within: boxes whose centre lies further than this along x or y are not counted, metres.

    Raises:
        ValueError: boxes without points, or another number of points or labels than regions.
    """
    sizes = np.bincount(regions[regions >= 0])
    counts = RegionCounts(
        sweeps=1, points=len(regions), regions=int((sizes > 0).sum()), region_points=int(sizes.sum())
    )
    inside = regions >= 0
    if labels is not None:
        if len(labels) != len(regions):
            raise ValueError(f"{len(labels)} labels for {len(regions)} points")
        classed = inside & (labels >= 0)
        by_class = overlaps(regions[classed], labels[classed], (len(sizes), int(labels.max(initial=0)) + 1))
        counts += RegionCounts(
            classed_points=int(classed.sum()), class_pure_points=int(by_class.max(axis=1).sum())
        )
    if boxes is None:
        return counts
    if points is None or len(points) != len(regions):
        raise ValueError(f"boxes need the points of the {len(regions)} regions")
    in_box = points_in_boxes(points, boxes.centers, boxes.sizes, boxes.yaws)
    # Row 0 stands for no box; a point in two boxes belongs to the first.
    box = np.concatenate([~in_box.any(axis=0, keepdims=True), in_box]).argmax(axis=0)
    box_sizes = np.bincount(box, minlength=len(boxes) + 1)
    shared = overlaps(regions[inside], box[inside], (len(sizes), len(boxes) + 1))
    iou = shared / np.maximum(sizes[:, None] + box_sizes - shared, 1)
    counted = (box_sizes[1:] >= min_points) & (np.abs(boxes.centers[:, :2]) <= within).all(axis=1)
    return counts + RegionCounts(
        labelled_points=counts.region_points,
        pure_points=int(shared.max(axis=1).sum()),
        boxes=int(counted.sum()),
        boxes_covered=int((iou.max(axis=0, initial=0.0)[1:] >= min_iou)[counted].sum()),
    )


def count_superpixels(ids: NDArray, labels: NDArray | None = None) -> SuperpixelCounts:
    """Counts of one image.

    Args:
        ids: (H, W) int superpixels, -1 for none.
        labels: (H, W) int class of each pixel, negative where unknown, None where there is none.

    Raises:
        ValueError: labels of another shape.
    """
    known = ids >= 0
    counts = SuperpixelCounts(
        images=1, pixels=int(known.sum()), superpixels=int((np.bincount(ids[known]) > 0).sum())
    )
    if labels is None:
        return counts
    if labels.shape != ids.shape:
        raise ValueError(f"labels have shape {labels.shape}, superpixels {ids.shape}")
    known &= labels >= 0
    shape = (int(ids.max(initial=-1)) + 1, int(labels.max(initial=-1)) + 1)
    overlap = overlaps(ids[known], labels[known], shape)
    return counts + SuperpixelCounts(
        labelled_pixels=int(known.sum()), pure_pixels=int(overlap.max(axis=1, initial=0).sum())
    )


def count_semantics(ids: NDArray, labels: NDArray | None = None) -> SemanticCounts:
    """Counts of one id map.

    Args:
        ids: (H, W) int, -1 for none.
        labels: (H', W') int class of each pixel of the image at any resolution, negative where unknown.
    """
    known = ids >= 0
    counts = SemanticCounts(
        images=1, cells=ids.size, cells_with_id=int(known.sum()), ids=len(np.unique(ids[known]))
    )
    if labels is None:
        return counts
    y, x = (
        ((np.arange(n) + 0.5) * m / n).astype(np.int64) for n, m in zip(labels.shape, ids.shape, strict=True)
    )
    spread = ids[y[:, None], x]
    known = (spread >= 0) & (labels >= 0)
    shape = (int(ids.max(initial=-1)) + 1, int(labels.max(initial=-1)) + 1)
    overlap = overlaps(spread[known], labels[known], shape)
    return counts + SemanticCounts(
        overlap=Counter({(int(a), int(b)): int(overlap[a, b]) for a, b in np.argwhere(overlap)})
    )
