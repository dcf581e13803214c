"""What a frame of a sample is made from and what it holds: settings, sources, arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pc3d.data.batch import Needs
from pc3d.data.classes import ClassSet
from pc3d.data.image_crops import Box, ImageCrop
from pc3d.data.images import ImageMap, resize_and_crop, stretch
from pc3d.data.map_targets import MapRasteriser
from pc3d.data.masked_views import OccupancySample
from pc3d.data.pairing import PairingConfig
from pc3d.data.paste import PasteConfig, PasteDatabase
from pc3d.data.records import Boxes, Float32, Float64
from pc3d.data.region_cache import RegionCache
from pc3d.data.statistics_cache import StatisticsCache
from pc3d.data.sweeps import check_features
from pc3d.data.teacher_cache import Float16, TeacherCache
from pc3d.data.transforms import NO_AUGMENTATION, PointAugmentation, PointFilter, ViewCrop, ViewSample
from pc3d.geometry.grid import BevGrid

BEVFUSION_MAP_GRID = BevGrid(-50.0, 50.0, -50.0, 50.0, 0.5)
"""The masks of BEVFusion (Liu et al., ICRA 2023): 100 m by 100 m in 200 by 200 cells."""
NOT_LOOKED_AT = -2
"""Id of points of earlier sweeps and of pasted objects, whose regions nobody computed; -1 is a point that was
looked at and lies in no region."""
MAX_SWEEPS = 10
"""Most sweeps of a view: nuScenes has ten from one key frame to the next."""


@dataclass(frozen=True)
class FrameConfig:
    """How a key frame becomes a sample.

    Attributes:
        num_cameras: random cameras taken of each sample (the same in its neighbour frames), None: all.
        cameras: names to choose from, None: all.
        image_size: (height, width) of the images.
        resize: how an image gets there: `crop` keeps its aspect, fills the width and cuts the top off;
            `stretch` (SLidR, SuperFlow) keeps all of it.
        image_crop: draw a part of each image that is stretched instead of the whole, None for none. The
            frames of a sample draw theirs alone.
        image_flip: probability of mirroring an image.
        features: point channels after x y z: "intensity"; of nuScenes sweeps "ring"; "time", the seconds
            from the point's sweep to the key frame, 0 for the key frame's own points; and as the last one
            "statistics", the 13 columns of `pc3d.data.local_statistics`, of all points that are loaded and
            before augmentation (their lengths are scaled as the view is).
        sweeps: sweeps that a view shows, 1 to 10: the key frame and those before it in its scene (other
            key frames too), moved into its LiDAR frame by the poses. BEVFusion takes 10. At the start
            of a scene there are fewer. Rows of the earlier ones follow the key frame's own; they have
            no label, no pixel, and `NOT_LOOKED_AT` for a region.
        paste: objects of other frames that are put into frame "t", before its augmentation.
        augmentation: of each view, in the order "a", "b"; one entry serves both. Crops have the last one's.
        view_crop: what part of frame "t" a crop shows, None for `ViewCrop` as it is.
        points: range and number of the points of a view.
        pairing: how points and pixels are paired.
        ego_masks: folder with a picture `CAMERA.png` of any resolution for cameras that see the ego
            vehicle: not black where it is. Its pixels take part in no pair.
        dense_sweeps: plain sweeps before the key frame that the "dense" frame adds.
        map_grid: of the masks of the map, in the frame of view "a".
        other_frames_images: a control that must lose: each frame shows the images and the ids of pixels of a
            key frame of another scene, always the same one, under its own point-pixel pairs. The
            neighbours in time show those of the other one's neighbours.
    """

    num_cameras: int | None = None
    cameras: tuple[str, ...] | None = None
    image_size: tuple[int, int] = (224, 448)
    image_flip: float = 0.0
    features: tuple[str, ...] = ("intensity",)
    augmentation: tuple[PointAugmentation, ...] = (NO_AUGMENTATION,)
    points: PointFilter = field(default_factory=PointFilter)
    pairing: PairingConfig = field(default_factory=PairingConfig)
    ego_masks: str | None = None
    dense_sweeps: int = 2
    map_grid: BevGrid = BEVFUSION_MAP_GRID
    sweeps: int = 1
    paste: PasteConfig | None = None
    resize: Literal["crop", "stretch"] = "crop"
    image_crop: ImageCrop | None = None
    view_crop: ViewCrop | None = None
    other_frames_images: bool = False

    def __post_init__(self) -> None:
        if self.resize not in ("crop", "stretch"):
            raise ValueError(f"unknown resize {self.resize!r}; known: crop, stretch")
        if self.image_crop is not None and self.resize != "stretch":
            raise ValueError("`image_crop` stretches the parts that it draws: set `resize` to stretch, too")
        if not 1 <= self.sweeps <= MAX_SWEEPS:
            raise ValueError(f"sweeps is {self.sweeps}, expected 1 to {MAX_SWEEPS}")
        check_features(self.features)


@dataclass(frozen=True, eq=False)
class FrameSources:
    """What frames are loaded from: needs, settings, classes of labels, and the caches of ids by need.

    A cache `pseudo_labels` stands in for the label files; `statistics` keeps what is computed of points.
    `scene_maps` holds the map of each scene.
    `objects` are those that `config.paste` pastes. Where there is a `teacher`, its maps are read instead of
    the images.
    """

    needs: Needs
    config: FrameConfig
    classes: ClassSet | None
    caches: Mapping[str, RegionCache] = field(default_factory=dict)
    ego_masks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    objects: PasteDatabase | None = None
    scene_maps: Mapping[str, MapRasteriser] = field(default_factory=dict)
    statistics: StatisticsCache | None = None
    teacher: TeacherCache | None = None

    def of_frame(self, name: str) -> FrameSources:
        """The same for one frame of a sample; objects are pasted into "t" alone."""
        return replace(self, needs=self.needs.of_frame(name), objects=self.objects if name == "t" else None)


@dataclass(frozen=True)
class ImageDraw:
    """Which cameras a frame shows, in this order, which of them mirrored, at which (height, width).

    `resize` is `FrameConfig.resize`; `boxes` the drawn parts of the images by camera, the whole where there
    is none.
    """

    cameras: tuple[str, ...]
    flips: tuple[bool, ...]
    size: tuple[int, int]
    resize: str = "crop"
    boxes: Mapping[str, Box] = field(default_factory=dict)

    def image_map(self, number: int, source: tuple[int, int]) -> ImageMap:
        """The map of the camera `number` of the draw, whose images have `source` (width, height)."""
        flip, box = self.flips[number], self.boxes.get(self.cameras[number])
        if self.resize == "stretch":
            return stretch(source, *self.size, flip, box)
        return resize_and_crop(source, *self.size, flip)


@dataclass(frozen=True, eq=False)
class PairsSample:
    """Pairs of one sample: row (M,), camera (M,) position in the draw, uv (M, 2) in the resized image."""

    row: NDArray[np.int64]
    camera: NDArray[np.int64]
    uv: Float32


@dataclass(frozen=True, eq=False)
class ImagesSample:
    """V images of one sample: rgb (V, H, W, 3) uint8 or None, mask (V,), K (V, 3, 3), poses (V, 4, 4).

    `lens` (V, 12) is the `Lens.row` of each; `levels`, a teacher's maps (V, C, h, w), stand for rgb.
    """

    rgb: NDArray[np.uint8] | None
    mask: NDArray[np.bool_]
    intrinsics: Float64
    cam_SE3_lidar: Float64
    lens: Float64
    levels: list[Float16] | None = None


@dataclass(frozen=True, eq=False)
class FrameSample:
    """What `FrameBatch` holds, of one sample, as arrays."""

    views: dict[str, ViewSample]
    num_points: int
    world_SE3_lidar: Float64
    draw: ImageDraw
    images: ImagesSample | None = None
    pairs: PairsSample | None = None
    superpixels: NDArray[np.int64] | None = None
    semantics: NDArray[np.int64] | None = None
    regions: NDArray[np.int64] | None = None
    supervoxels: NDArray[np.int64] | None = None
    objects: NDArray[np.int64] | None = None
    tracks: NDArray[np.int64] | None = None
    moving: NDArray[np.bool_] | None = None
    labels: NDArray[np.int64] | None = None
    statistics: Float32 | None = None
    boxes: Boxes | None = None
    box_labels: NDArray[np.int64] | None = None
    maps: NDArray[np.bool_] | None = None
    occupancy: OccupancySample | None = None
