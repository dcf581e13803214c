"""Packs samples into a `Batch`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from pc3d.data.batch import Batch, FrameBatch, Pairs, PointView, TeacherMaps, named_tensors
from pc3d.data.dataset import Sample
from pc3d.data.errors import fail
from pc3d.data.frames import FrameSample
from pc3d.data.occupancy_batch import OccupancyQueries, collate_queries
from pc3d.data.transforms import ViewSample
from pc3d.geometry.lens import PINHOLE


def collate(samples: Sequence[Sample]) -> Batch:
    """Pack samples, which must have the same frames, views and number of cameras.

    Raises:
        ValueError: no sample, or they differ in what they hold.
    """
    if not samples:
        raise ValueError("cannot collate no samples")
    names = list(samples[0].frames)
    if any(list(sample.frames) != names for sample in samples):
        raise ValueError("the samples of a batch must have the same frames")
    frames: dict[str, FrameBatch] = {}
    for name in names:
        parts = [sample.frames[name] for sample in samples]
        frames[name] = _collate_frame(parts, frames.get("t") if name == "dense" else None)
    return Batch([sample.token for sample in samples], frames, [sample.meta for sample in samples])


def collate_shared(samples: Sequence[Sample]) -> Batch:
    """`collate`; in a data worker, the tensors are moved to shared memory at once.

    torch would do that in a thread whose errors nobody hears, and the run would wait for ever.

    Raises:
        DataError: the shared memory is used up.
    """
    batch = collate(samples)
    if get_worker_info() is None:
        return batch
    tensors = [tensor for _, tensor in named_tensors(batch)]
    try:
        for tensor in tensors:
            tensor.share_memory_()
    except (RuntimeError, OSError):
        megabytes = sum(tensor.nbytes for tensor in tensors) / 2**20
        size = shutil.disk_usage("/dev/shm")
        fail(
            f"no shared memory is left for a batch of {megabytes:.0f} MB",
            f"/dev/shm, {size.total / 2**20:.0f} MB of which {size.free / 2**20:.0f} MB are free",
            "make it larger (docker run --shm-size=8g), or read without workers: data.workers=0",
        )
    return batch


def _collate_frame(parts: list[FrameSample], images_of: FrameBatch | None) -> FrameBatch:
    """Pack one frame; images, cameras and superpixels are shared with `images_of` where given."""
    counts = [part.num_points for part in parts]
    first_row = [0, *accumulate(counts)]
    frame = FrameBatch(
        views={
            name: _collate_view([part.views[name] for part in parts], first_row) for name in parts[0].views
        },
        num_points=first_row[-1],
        row_batch=torch.repeat_interleave(torch.arange(len(parts)), torch.tensor(counts)),
        world_SE3_lidar=_stack([part.world_SE3_lidar for part in parts]),
        pairs=_collate_pairs(parts, first_row),
        regions=_join([part.regions for part in parts]),
        supervoxels=_join([part.supervoxels for part in parts]),
        objects=_join([part.objects for part in parts]),
        tracks=_join([part.tracks for part in parts]),
        moving=_join([part.moving for part in parts]),
        labels=_join([part.labels for part in parts]),
        statistics=_join([part.statistics for part in parts]),
        boxes=[part.boxes for part in parts if part.boxes is not None] or None,
        box_labels=[part.box_labels for part in parts if part.box_labels is not None] or None,
        maps=None if parts[0].maps is None else _stack([part.maps for part in parts]),
        occupancy=_collate_occupancy(parts),
    )
    if images_of is not None:
        for name in (
            "images",
            "teacher",
            "camera_mask",
            "superpixels",
            "semantics",
            "intrinsics",
            "cam_SE3_lidar",
            "lens",
        ):
            setattr(frame, name, getattr(images_of, name))
        return frame
    images = [part.images for part in parts if part.images is not None]
    if images:
        if any(image.mask.shape != images[0].mask.shape for image in images):
            raise ValueError(
                "samples with different numbers of cameras: name them, `camera_names` in the config "
                "(`cameras` of FrameConfig), and one that a sweep lacks is black and left out"
            )
        frame.camera_mask = _stack([image.mask for image in images])
        frame.intrinsics = _stack([image.intrinsics for image in images]).float()
        frame.cam_SE3_lidar = _stack([image.cam_SE3_lidar for image in images]).float()
        if any((image.lens[:, 0] != PINHOLE.row[0]).any() for image in images):
            frame.lens = _stack([image.lens for image in images])
        pixels = [image.rgb for image in images if image.rgb is not None]
        if pixels:
            frame.images = _stack(pixels).permute(0, 1, 4, 2, 3).contiguous()
        levels = [image.levels for image in images if image.levels is not None]
        if levels:
            joined = {str(n): _stack(list(maps)) for n, maps in enumerate(zip(*levels, strict=True))}
            frame.teacher = TeacherMaps(joined, parts[0].draw.size)
    for name in ("superpixels", "semantics"):
        maps = [getattr(part, name) for part in parts if getattr(part, name) is not None]
        setattr(frame, name, _stack(maps) if maps else None)
    return frame


def _stack(arrays: list) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _join(arrays: list) -> Tensor | None:
    """The arrays one after the other, or None where they are not asked for."""
    return None if arrays[0] is None else torch.from_numpy(np.concatenate(arrays))


def _collate_view(views: list[ViewSample], first_row: list[int]) -> PointView:
    counts = torch.tensor([len(view.points) for view in views])
    rows = [view.row + start for view, start in zip(views, first_row, strict=False)]
    return PointView(
        points=torch.from_numpy(np.concatenate([view.points for view in views])),
        batch=torch.repeat_interleave(torch.arange(len(views)), counts),
        row=torch.from_numpy(np.concatenate(rows)),
        lidar_SE3=_stack([view.view_T_lidar for view in views]).float(),
        size=len(views),
        lengths=views[0].lengths,
    )


def _collate_pairs(parts: list[FrameSample], first_row: list[int]) -> Pairs | None:
    if parts[0].pairs is None:
        return None
    rows, cameras, uvs = [], [], []
    for number, part in enumerate(parts):
        assert part.pairs is not None
        rows.append(part.pairs.row + first_row[number])
        cameras.append(part.pairs.camera + number * len(part.draw.cameras))
        uvs.append(part.pairs.uv)
    return Pairs(
        row=torch.from_numpy(np.concatenate(rows)),
        camera=torch.from_numpy(np.concatenate(cameras)),
        uv=torch.from_numpy(np.concatenate(uvs)),
    )


def _collate_occupancy(parts: list[FrameSample]) -> dict[str, dict[str, OccupancyQueries]] | None:
    found = [part.occupancy for part in parts if part.occupancy is not None]
    if not found:
        return None
    names, packed = list(found[0].queries), {}
    for name, other in zip(names, reversed(names), strict=True):
        packed[name] = {
            str(scale): collate_queries(
                [sample.queries[name][scale] for sample in found],
                # The second mask's are those of the first, told once.
                [sample.twins[scale] for sample in found if sample.twins is not None and name == names[0]],
                [sample.queries[other][scale] for sample in found],
                size,
            )
            for scale, size in enumerate(found[0].sizes)
        }
    return packed
