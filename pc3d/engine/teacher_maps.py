"""`data.teacher_cache`: the maps of a frozen image encoder, made once before the first step.

They are read in its stead: no step decodes an image or runs the teacher. What a map is of stands in the
name of its folder: the encoder's config and weights, the index, the images' size and how they are resized.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import DataError
from pc3d.data.frame_images import drawn, picture
from pc3d.data.teacher_cache import NO_CAMERA, TeacherCache
from pc3d.engine.config import plain
from pc3d.engine.data import MixedDataset
from pc3d.engine.loop import end_workers
from pc3d.engine.runs.contract import with_defaults
from pc3d.engine.runs.ranks import gathered, rank, world
from pc3d.engine.training import begin_worker
from pc3d.models.image import IMAGE_ENCODERS
from pc3d.models.image.base import ImageEncoder
from pc3d.models.image.common import LevelImageEncoder
from pc3d.storage.whole import clean

AT_ONCE = 8
"""Images of one pass of the encoder."""
Image = tuple[int, int, str]
"""Part of the data set, row of its index, name of a camera."""
Filled = tuple[Image, NDArray[np.uint8] | str | None]
"""An image, or why it cannot be read, or None where another process has made its maps."""


def use_teacher_cache(config: Config, dataset: MixedDataset, encoder: ImageEncoder | None) -> None:
    """Make the maps that are missing, and let the data sets read them; nothing without `data.teacher_cache`.

    Args:
        config: effective. encoder: the frozen image encoder with its weights.

    Raises:
        DataError: an image cannot be read, and `data.bad_samples` allows none. In every process.
        ValueError: the encoder trains or is none, or images are augmented.
    """
    folder = config.data.get("teacher_cache")
    parts = [part for part in dataset.parts if part.needs.images]
    if folder is None or not parts:
        return
    check_encoder(encoder)
    assert encoder is not None
    caches = _caches(Path(folder), plain(config.image), encoder, parts)
    clean(Path(folder), recursive=True)
    error: str | None = None
    try:
        _fill(parts, caches, encoder, config.data.get("workers", 0), bool(config.data.get("bad_samples")))
    except DataError as found:
        error = str(found)
    errors = [text for text in gathered(error) if text is not None]  # waits for the others' share, too
    if errors:
        raise DataError(errors[0])
    for part, cache in zip(parts, caches, strict=True):
        part.use_teacher(cache)


def check_encoder(encoder: ImageEncoder | None) -> None:
    """
    Raises:
        ValueError: its maps cannot be kept: it is none, it trains, or only it knows how levels become a map.
    """
    remedy = "freeze it (image.frozen=True), or leave data.teacher_cache out"
    if encoder is None or any(parameter.requires_grad for parameter in encoder.parameters()):
        what = "there is no image encoder" if encoder is None else "the image encoder trains"
        raise ValueError(f"data.teacher_cache keeps the maps of a frozen image encoder: {what}; {remedy}")
    if not isinstance(encoder, LevelImageEncoder) and len(encoder.level_channels) > 1:
        raise ValueError(
            f"data.teacher_cache keeps levels, and {type(encoder).__name__} does not say how its "
            f"{len(encoder.level_channels)} levels become its map: derive it from LevelImageEncoder, or "
            "leave data.teacher_cache out"
        )


def weights_hash(module: nn.Module) -> str:
    """SHA-256 of all parameters and buffers, constants that are not saved included."""
    digest = hashlib.sha256()
    for name, tensor in sorted([*module.named_parameters(), *module.named_buffers()]):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _caches(
    folder: Path, image: Mapping[str, Any], encoder: ImageEncoder, parts: Sequence[FrameDataset]
) -> list[TeacherCache]:
    """The cache of each part, with the maps of a camera that is missing."""
    encoder.eval()
    size = parts[0].config.image_size
    levels = _maps(encoder, torch.zeros(1, 3, *size))
    shapes = [level.shape[1:] for level in levels]
    facts: dict[str, Any] = {
        "image": with_defaults(image, IMAGE_ENCODERS.get(str(image.get("type")))),
        "weights": weights_hash(encoder),
        "image_size": list(size),
        "resize": parts[0].config.resize,
    }
    caches = []
    for part in parts:
        of_part = {**facts, "index": part.index.fingerprint}
        text = json.dumps(of_part, sort_keys=True, default=str)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        cache = TeacherCache.create(folder / name, shapes, json.loads(text))
        if not cache.has("", NO_CAMERA):
            cache.save("", NO_CAMERA, [level[0] for level in levels])
        caches.append(cache)
    return caches


def _maps(encoder: ImageEncoder, images: Tensor) -> list[NDArray[np.float32]]:
    device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    with torch.no_grad():
        return [level.float().cpu().numpy() for level in encoder.pyramid(images.to(device))]


class _Images(Dataset[Filled]):
    """The images whose maps are missing, as the frames of their part show them."""

    def __init__(self, parts: Sequence[FrameDataset], caches: Sequence[TeacherCache], wanted: list[Image]):
        self.parts, self.caches, self.wanted = parts, caches, wanted

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, number: int) -> Filled:
        part, row, name = self.wanted[number]
        sweep = self.parts[part].index[row]
        if self.caches[part].has(sweep.token, name):
            return self.wanted[number], None
        cameras = drawn(sweep, self.parts[part].image_draw(sweep))
        camera, image_map = next((c, m) for _, c, m in cameras if c.name == name)
        try:
            return self.wanted[number], np.ascontiguousarray(picture(sweep, camera, image_map))
        except DataError as error:
            return self.wanted[number], str(error)


def _wanted(parts: Sequence[FrameDataset], caches: Sequence[TeacherCache]) -> Iterator[tuple[Image, bool]]:
    """Every image that a sample of the parts may show, each once, and whether its maps are there."""
    seen = set()
    for number, (part, cache) in enumerate(zip(parts, caches, strict=True)):
        for row in part.image_rows().tolist():
            sweep = part.index[row]
            for _, camera, _ in drawn(sweep, part.image_draw(sweep)):
                key = (cache.folder, sweep.token, camera.name)
                if key not in seen:
                    seen.add(key)
                    yield (number, row, camera.name), cache.has(sweep.token, camera.name)


def _fill(
    parts: Sequence[FrameDataset],
    caches: Sequence[TeacherCache],
    encoder: ImageEncoder,
    workers: int,
    tolerant: bool,
) -> None:
    """Make this process's share of the maps that are missing.

    The share is one of all images, not of the missing ones, of which each process may see others.
    """
    images = list(_wanted(parts, caches))
    share = [image for image, there in images[rank() :: world()] if not there]
    if share:
        if torch.cuda.is_available():
            encoder.cuda()
        loader = DataLoader(
            _Images(parts, caches, share),
            batch_size=AT_ONCE,
            num_workers=workers,
            collate_fn=list,
            persistent_workers=workers > 0,  # so that an error ends them, too
            worker_init_fn=begin_worker,
        )
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True, quiet=rank() > 0)
        with Progress(TextColumn("teacher maps"), *columns, console=console) as progress:
            task = progress.add_task("", total=len(share))
            try:
                for batch in loader:
                    _make(batch, parts, caches, encoder, tolerant)
                    progress.advance(task, len(batch))
            finally:
                end_workers(loader)
    if rank() == 0:
        size = sum(caches[part].image_bytes for (part, _, _), _ in images)
        made = sum(not there for _, there in images)
        print(
            f"teacher maps: {len(images):,} images, {size / 1e6:,.1f} MB in {caches[0].folder.parent}; "
            f"{made:,} made now",
            flush=True,
        )


def _make(
    batch: list[Filled],
    parts: Sequence[FrameDataset],
    caches: Sequence[TeacherCache],
    encoder: ImageEncoder,
    tolerant: bool,
) -> None:
    """Encode images and write their maps."""
    for _, found in batch:
        if isinstance(found, str) and not tolerant:  # else the run counts it when it meets it
            raise DataError(found)
    images = [(image, found) for image, found in batch if isinstance(found, np.ndarray)]
    if not images:
        return
    stacked = torch.from_numpy(np.stack([rgb for _, rgb in images]))
    levels = _maps(encoder, stacked.permute(0, 3, 1, 2).contiguous().float().div_(255.0))
    for number, ((part, row, name), _) in enumerate(images):
        token = parts[part].index[row].token
        caches[part].save(token, name, [level[number] for level in levels])
