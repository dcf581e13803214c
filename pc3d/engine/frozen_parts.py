"""Parts that are frozen at random weights: a teacher that knows nothing, or a probe of nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pc3d.engine.initial_weights import FILES
from pc3d.engine.runs.contract import with_defaults
from pc3d.engine.runs.folder import FINISHED
from pc3d.models.image import IMAGE_ENCODERS
from pc3d.objectives.registry import objective_type


def refuse_random_frozen(config: Mapping[str, Any]) -> None:
    """Refuse a config that keeps random weights as they are, unless `init.random` asks for it.

    Args:
        config: of pretraining or fine-tuning, as plain values.

    Raises:
        ValueError: names the parts.
    """
    init = config.get("init") or {}
    parts = [] if init.get("random") else [*_frozen(config, init), *_frozen_heads(config, init)]
    if parts:
        raise ValueError(
            f"{', '.join(parts)} would stay at random weights: nothing is learned from them\n"
            "  where: the config, `frozen`, `head.freeze` or `image`\n"
            "  remedy: start from weights (init.run=RUN, or a file: init.checkpoint=FILE in fine-tuning, "
            "init.lidar=FILE in pretraining), let the part train, or ask for it, as a control does: "
            "init.random=True"
        )


def _frozen(config: Mapping[str, Any], init: Mapping[str, Any]) -> Iterator[str]:
    """Encoders that are frozen and start from no weights."""
    frozen = set(config.get("frozen") or ())
    if (config.get("head") or {}).get("freeze"):
        frozen.add("lidar")
    for name in FILES:
        section = config.get(name)
        if not section or _loaded(name, init):
            continue
        if name == "image" and _random_image(section, name in frozen):
            yield f"the frozen image encoder ({section.get('type')})"
        elif name != "image" and name in frozen:
            yield f"the frozen part {name}"


def _loaded(name: str, init: Mapping[str, Any]) -> bool:
    """Whether a part starts from a file; one of a stage may be still to come."""
    if init.get(name) or (name == "lidar" and init.get("checkpoint")):
        return True
    run = Path(init["run"]) if init.get("run") else None
    to_come = bool(init.get("stage")) and (run is None or not (run / FINISHED).exists())
    return to_come or (run is not None and (run / f"{FILES[name]}.safetensors").is_file())


def _random_image(section: Mapping[str, Any], frozen: bool) -> bool:
    """Whether an image encoder, or the one inside of it, is frozen without weights of its own."""
    settings = with_defaults(section, IMAGE_ENCODERS.get(str(section.get("type"))))
    frozen = frozen or bool(settings.get("frozen"))
    backbone = settings.get("backbone")
    if isinstance(backbone, Mapping):  # a neck has no weights of its own
        return frozen or _random_image(backbone, frozen)
    own = (
        settings.get("pretrained", False) or settings.get("weights") or isinstance(settings.get("model"), str)
    )
    return frozen and not own


def _frozen_heads(config: Mapping[str, Any], init: Mapping[str, Any]) -> Iterator[str]:
    """Layers of objectives that never train and come from nowhere."""
    given = {**(init.get("heads") or {}), **(config.get("shared_heads") or {})}
    for key, objective in (config.get("objectives") or {}).items():
        for head in objective_type(objective).frozen_heads(objective):
            if f"{key}.{head}" not in given:
                yield f"the frozen head {key}.{head} (init.heads, shared_heads)"
