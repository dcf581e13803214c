"""What the loader gives to the pretrainer and the fine-tuner: packed point clouds and images.

Clouds of a batch are packed: the points of all samples stand one after the other, and `batch`
says which sample each belongs to. Everything that is known about a point (regions, labels,
pixels) is kept once, in the numbering of the sweep as loaded; a view points back to it by `row`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pc3d.data.needs import CROPS, ID_KINDS, Needs
from pc3d.data.occupancy_batch import OccupancyQueries
from pc3d.data.records import Boxes

__all__ = [
    "CROPS",
    "ID_KINDS",
    "Batch",
    "FrameBatch",
    "Needs",
    "OccupancyQueries",
    "Pairs",
    "PointView",
    "TeacherMaps",
    "named_tensors",
]


def _mapped(value: Any, function: Callable[[Tensor], Tensor], done: dict[int, Tensor]) -> Any:
    """The same with `function` of each tensor, once of one that two frames share."""
    if isinstance(value, Tensor):
        if id(value) not in done:
            done[id(value)] = function(value)
        return done[id(value)]
    if isinstance(value, dict):
        return {key: _mapped(item, function, done) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, (type, Boxes)):
        parts = {f.name: _mapped(getattr(value, f.name), function, done) for f in fields(value)}
        return type(value)(**parts)
    return value


def named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested dictionaries and dataclasses, such as a `Batch`, by dotted name."""
    if isinstance(value, Tensor):
        yield name, value
        return
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_tensors(item, f"{name}.{key}" if name else str(key))


@dataclass
class PointView:
    """One augmented view of the packed clouds.

    Attributes:
        points: (P, C) float32, x y z (m, LiDAR frame after augmentation) then features
            (intensity in 0..1 first).
        batch: (P,) int64 sample of each point, ascending.
        row: (P,) int64 row of each point in the frame's packed numbering (0..num_points-1);
            each row at most once, ascending.
        lidar_SE3: (B, 4, 4) float32 the affine map (rotation, scale, flip) from the loaded sweep
            to this view.
        size: number of samples B.
        lengths: columns of `points` after x y z that are metres of the view: what scales it scales them.
    """

    points: Tensor
    batch: Tensor
    row: Tensor
    lidar_SE3: Tensor
    size: int
    lengths: tuple[int, ...] = ()

    def index_of_row(self, num_rows: int) -> Tensor:
        """(num_rows,) int64: position in this view of each row of the frame, -1 where dropped."""
        index = torch.full((num_rows,), -1, dtype=torch.long, device=self.row.device)
        index[self.row] = torch.arange(len(self.row), device=self.row.device)
        return index


@dataclass
class Pairs:
    """Point-pixel pairs of one frame: point `row[m]` is seen in image `camera[m]` at `uv[m]`.

    Attributes:
        row: (M,) int64 in the frame's packed point numbering; a point seen by two cameras
            occurs twice.
        camera: (M,) int64 flat image index b * V + v.
        uv: (M, 2) float32 pixel coordinates in the resized image, centres at integer + 0.5.
    """

    row: Tensor
    camera: Tensor
    uv: Tensor


@dataclass
class TeacherMaps:
    """The maps of a frozen image encoder, read instead of the images.

    Attributes:
        levels: (B, V, C, h, w) float16 by the number of the level, "0" the finest.
        image_size: (height, width) of the images that they cover.
    """

    levels: dict[str, Tensor]
    image_size: tuple[int, int]


@dataclass
class FrameBatch:
    """B samples at one time (the key frame itself, a neighbour in time, or the dense sweep).

    Attributes:
        views: augmented views by name; "a" always exists, "b" where an objective asks for it; "c", "d", ...
            are crops, "m" and "n" masked, see `Needs`.
        num_points: rows of the packed numbering.
        row_batch: (num_points,) int64 sample of each row.
        images: (B, V, 3, H, W) RGB, uint8 as the loader gives them, or float in 0..1; or None. Encoders read
            `pictures`. A camera that is missing is black.
        teacher: the maps of the image encoder in the images' stead, or None.
        camera_mask: (B, V) bool, False where the camera is missing, or None.
        pairs: point-pixel pairs, or None.
        superpixels: (B, V, H, W) int16 segment id within its image, -1 outside, or None.
        semantics: (B, V, H, W) int16 id that means the same in every camera, at every time and in
            every sample, -1 for none, or None.
        regions: (num_points,) int64 region id within its sweep, -1 semantic-less, or None.
        supervoxels: (num_points,) int64 supervoxel within its sweep, -1 for none, or None.
        objects: (num_points,) int64 object within its sweep, -1 for none, or None.
        tracks: (num_points,) int64 segment that is the same thing in "t" and "t+1" of a sample, -1 for
            none, or None.
        moving: (num_points,) bool, True for points of a segment that moves, or None.
        labels: (num_points,) int64 class of each row, -1 ignored, or None.
        statistics: (num_points, 13) float32 `pc3d.data.local_statistics` of the loaded sweep, or None.
        world_SE3_lidar: (B, 4, 4) float64.
        intrinsics: (B, V, 3, 3) float32 of the resized image (a mirrored one has fx < 0), or None.
        cam_SE3_lidar: (B, V, 4, 4) float32 from the loaded sweep to the camera, the motion between
            the two exposures included, or None.
        lens: (B, V, 12) float64 `pc3d.geometry.lens.Lens.row` of each camera, None where none bends a ray.
        boxes: `Boxes` of each sample in the LiDAR frame of the loaded sweep, or None.
        box_labels: for each sample the (N,) int64 detection class of its boxes, -1 for none, or None.
        maps: (B, 6, rows, cols) bool masks of `MAP_CLASSES` on `map_grid` in the frame of view "a", or None.
        occupancy: what is asked of each masked view, by its name and the number of the scale, "0" the finest.
    """

    views: dict[str, PointView]
    num_points: int
    row_batch: Tensor
    world_SE3_lidar: Tensor
    images: Tensor | None = None
    camera_mask: Tensor | None = None
    pairs: Pairs | None = None
    superpixels: Tensor | None = None
    semantics: Tensor | None = None
    regions: Tensor | None = None
    supervoxels: Tensor | None = None
    objects: Tensor | None = None
    tracks: Tensor | None = None
    moving: Tensor | None = None
    labels: Tensor | None = None
    statistics: Tensor | None = None
    intrinsics: Tensor | None = None
    cam_SE3_lidar: Tensor | None = None
    lens: Tensor | None = None
    boxes: list[Boxes] | None = None
    box_labels: list[NDArray[np.int64]] | None = None
    maps: Tensor | None = None
    teacher: TeacherMaps | None = None
    occupancy: dict[str, dict[str, OccupancyQueries]] | None = None

    def pictures(self) -> Tensor:
        """(B * V, 3, H, W) float32 RGB in 0..1, in the order b * V + v.

        Raises:
            ValueError: the frame was loaded without images.
        """
        if self.images is None:
            raise ValueError("the model reads images, and the frame was loaded without any")
        flat = self.images.flatten(0, 1)
        return flat.float().div_(255.0) if flat.dtype == torch.uint8 else flat

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the images in pixels, None where the frame was loaded without any."""
        if self.images is not None:
            return self.images.shape[-2], self.images.shape[-1]
        return None if self.teacher is None else self.teacher.image_size


@dataclass
class Batch:
    """A training batch. `frames["t"]` is the key frame; neighbours are "t-1", "t+1", "dense".

    Attributes:
        tokens: sweep token of each sample.
        frames: frames by name.
        meta: plain facts of each sample (scene, sample_token, paths).
    """

    tokens: list[str]
    frames: dict[str, FrameBatch]
    meta: list[dict[str, Any]] = field(default_factory=list)

    @property
    def now(self) -> FrameBatch:
        return self.frames["t"]

    def __len__(self) -> int:
        return len(self.tokens)

    _host = None  # no field: it is neither copied nor saved with the batch

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with every tensor on `device`, which remembers its `host`."""
        moved: Batch = _mapped(self, lambda tensor: tensor.to(device, non_blocking=True), {})
        if self.now.row_batch.device.type == "cpu":
            moved._host = self  # type: ignore[assignment]
        return moved

    def pin_memory(self) -> Batch:
        """The same batch in pinned memory, from which a GPU copies without a wait; the loader asks for it."""
        return _mapped(self, Tensor.pin_memory, {})

    @property
    def host(self) -> Batch:
        """The batch in the host's memory: what follows from ids alone is found there, without a wait."""
        if self._host is not None:
            return self._host
        return self if self.now.row_batch.device.type == "cpu" else self.to("cpu")
