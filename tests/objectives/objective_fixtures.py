"""A small hand-made batch and encoders whose outputs are easy to follow."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pc3d.data.batch import Batch, FrameBatch, Pairs, PointView
from pc3d.data.masked_views import masked_views
from pc3d.data.occupancy import OccupancySettings
from pc3d.data.occupancy_batch import collate_queries
from pc3d.data.transforms import ViewSample
from pc3d.geometry.grid import BevGrid
from pc3d.models.bev.base import ViewTransform
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures

IMAGE = (12, 20)


class TinyLidar(LidarEncoder):
    """Linear point features; the BEV map is a learned constant plus the coordinates."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.point_channels = self.bev_channels = channels
        self.grid = BevGrid(-10, 10, -10, 10, 1.0)
        self.linear = nn.Linear(4, channels)
        self.map = nn.Parameter(torch.randn(channels, self.grid.rows, self.grid.cols))
        self.calls = 0

    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        self.calls += 1
        valid = torch.ones(len(view.points), dtype=torch.bool)
        bev = self.map.expand(view.size, -1, -1, -1) if want_bev else None
        return LidarFeatures(self.linear(view.points), valid, bev)


class TinyImage(ImageEncoder):
    """A strided convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.stride, self.frozen = 5, 4, False
        self.conv = nn.Conv2d(3, 5, 4, stride=4)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(images)


class TinyCamera(ViewTransform):
    """A learned map, on a grid of its own, shifted by the mean image feature of the sample."""

    def __init__(self, image: ImageEncoder) -> None:
        super().__init__()
        self.bev_channels, self.grid = 7, BevGrid(-12, 12, -12, 12, 2.0)
        self.linear = nn.Linear(image.channels, self.bev_channels)
        self.map = nn.Parameter(torch.randn(self.bev_channels, self.grid.rows, self.grid.cols))

    def forward(
        self, features, intrinsics, cam_SE3_lidar, camera_mask, image_size, depth=None, lens=None
    ) -> Tensor:  # type: ignore[no-untyped-def]
        mean = features.mean(dim=(2, 3)).view(*camera_mask.shape, -1) * camera_mask[..., None]
        return self.map + self.linear(mean.mean(dim=1))[:, :, None, None]


def make_batch(seed: int = 0, size: int = 2, points: int = 60, cameras: int = 2, segments: int = 5) -> Batch:
    """Random clouds inside +-8 m at four times, with ids of every kind.

    Regions, supervoxels and objects are -1..2, tracks -1..4, superpixels and semantics -1..segments-1; t has
    a second view that lacks a tenth of the points, two crops of three eighths of them, and two masked views.
    """
    generator = torch.Generator().manual_seed(seed)
    names = ("t", "t-1", "t+1", "dense")
    frames = {name: make_frame(generator, size, points, cameras, segments) for name in names}
    for name in names[1:]:
        del frames[name].views["b"]
    frames["t"].views.update(make_crops(frames["t"].views["a"]))
    mask(frames["t"], OccupancySettings(kernel=3, masks=2))
    return Batch([f"sweep-{i}" for i in range(size)], frames)


def make_crops(whole: PointView) -> dict[str, PointView]:
    """Views "c" and "d" of two sectors."""
    turn = torch.atan2(whole.points[:, 1], whole.points[:, 0])
    crops = {}
    for name, start in (("c", -1.0), ("d", 0.5)):
        kept = ((turn >= start) & (turn < start + 0.75 * torch.pi)).nonzero()[:, 0]
        crops[name] = PointView(whole.points[kept], whole.batch[kept], kept, whole.lidar_SE3, whole.size)
    return crops


def mask(frame: FrameBatch, settings: OccupancySettings, seed: int = 0) -> None:
    """Give a frame views "m" and "n" and what is asked of them; rays start at the origin."""
    whole, found = frame.views["a"], []
    for sample in range(whole.size):
        points = whole.points[whole.batch == sample].numpy()
        view = ViewSample(points, np.arange(len(points)), np.eye(4))
        found.append(
            masked_views(view, points, 0 * points[:, :3], settings, np.random.default_rng([seed, sample]))
        )
    starts = [int((whole.batch < sample).sum()) for sample in range(whole.size)]
    frame.occupancy = {}
    names = list(found[0][0])
    for name, other in zip(names, reversed(names), strict=True):
        rows = torch.cat(
            [
                torch.from_numpy(views[name].row) + start
                for (views, _), start in zip(found, starts, strict=True)
            ]
        )
        frame.views[name] = PointView(
            whole.points[rows], whole.batch[rows], rows, whole.lidar_SE3, whole.size
        )
        frame.occupancy[name] = {
            str(scale): collate_queries(
                [asked.queries[name][scale] for _, asked in found],
                [asked.twins[scale] for _, asked in found if asked.twins is not None and name == "m"],
                [asked.queries[other][scale] for _, asked in found],
                size,
            )
            for scale, size in enumerate(settings.mask.sizes)
        }


def make_frame(g: torch.Generator, size: int, points: int, cameras: int, segments: int) -> FrameBatch:
    rows = size * points
    cloud = torch.rand(rows, 4, generator=g) * 16 - 8
    sample = torch.arange(size).repeat_interleave(points)
    eye = torch.eye(4).expand(size, 4, 4)
    kept = torch.rand(rows, generator=g) < 0.9
    pair_rows = torch.randint(rows, (rows,), generator=g)
    ids = {
        name: torch.randint(-1, segments, (size, cameras, *IMAGE), generator=g)
        for name in ("superpixels", "semantics")
    }
    return FrameBatch(
        views={
            "a": PointView(cloud, sample, torch.arange(rows), eye, size),
            "b": PointView(cloud[kept], sample[kept], torch.arange(rows)[kept], eye, size),
        },
        num_points=rows,
        row_batch=sample,
        world_SE3_lidar=torch.eye(4, dtype=torch.float64).expand(size, 4, 4),
        images=torch.rand(size, cameras, 3, *IMAGE, generator=g),
        camera_mask=torch.ones(size, cameras, dtype=torch.bool),
        intrinsics=torch.eye(3).expand(size, cameras, 3, 3),
        cam_SE3_lidar=torch.eye(4).expand(size, cameras, 4, 4),
        pairs=Pairs(
            pair_rows,
            sample[pair_rows] * cameras + torch.randint(cameras, (rows,), generator=g),
            torch.rand(rows, 2, generator=g) * torch.tensor([IMAGE[1], IMAGE[0]]),
        ),
        regions=torch.randint(-1, 3, (rows,), generator=g),
        supervoxels=torch.randint(-1, 3, (rows,), generator=g),
        tracks=torch.randint(-1, 5, (rows,), generator=g),
        moving=torch.rand(rows, generator=g) < 0.3,
        statistics=torch.rand(rows, 13, generator=torch.Generator().manual_seed(rows)),
        objects=torch.randint(-1, 3, (rows,), generator=g),
        **ids,
    )
