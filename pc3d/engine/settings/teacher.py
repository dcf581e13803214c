"""Whether the maps of a teacher can be kept, from the settings alone: `data.teacher_cache`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pc3d.engine.runs.contract import with_defaults
from pc3d.engine.settings.check import Fault
from pc3d.models.image import IMAGE_ENCODERS

_KEY = "data.teacher_cache"


def teacher_faults(config: Mapping[str, Any], kind: str) -> Iterator[Fault]:
    """Why each image of a run does not give the same maps in every step."""
    data, image = config["data"], config.get("image")
    if data.get("teacher_cache") is None:
        return
    if kind != "pretrain":
        yield Fault(_KEY, "keeps a teacher's maps for pretraining: leave it out in fine-tuning")
    elif not image:
        yield Fault(_KEY, "keeps the maps of an image encoder, and the config has none: set `image`")
    elif not _frozen(image) and "image" not in (config.get("frozen") or ()):
        yield Fault(
            _KEY,
            "keeps the maps of a frozen image encoder, and this one trains: set image.frozen=True, or leave "
            "data.teacher_cache out (data.teacher_cache=None in a stage that trains it)",
        )
    for key in ("image_flip", "image_crop"):
        if data.get(key) not in (None, 0):  # {} is a crop with its defaults
            yield Fault(
                _KEY, f"keeps the maps of images as they are, and `data.{key}` augments them: drop one"
            )


def _frozen(image: Mapping[str, Any]) -> bool:
    return bool(with_defaults(image, IMAGE_ENCODERS.get(str(image.get("type")))).get("frozen"))
