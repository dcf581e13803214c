"""A contrast from the `contrast` section of an objective, with what cannot go together refused."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

from pc3d.contrast.combine import check_together
from pc3d.contrast.contrast import Contrast
from pc3d.contrast.policy import Part, check_unit_rows
from pc3d.contrast.registry import LISTS, SLOTS, part_type
from pc3d.data.batch import Needs
from pc3d.data.errors import did_you_mean
from pc3d.models.build import build

Settings = Mapping[str, Any]
IMPLY_DCL = ("ClusterWeights", "LearnedWeights")


def build_contrast(
    settings: Settings | None,
    temperature: float,
    dim: int,
    facts: Sequence[str] = (),
    gather: bool = False,
    unit_rows: bool = True,
    several: bool = False,
    two_way: bool = False,
    form: str = "out",
) -> Contrast:
    """The contrast of one term of an objective.

    Args:
        settings: section `contrast`, or None: `similarity`, `positives`, `negatives`, `loss`, `regularizers`,
            `block`.
        temperature: of the objective, where no `similarity` is set.
        dim: of the compared features.
        facts: what the objective knows of its rows, of `comparison.FACTS`.
        gather: rows of other ranks, of which no facts are known, are negatives, too.
        unit_rows: the compared rows have unit length.
        several: an anchor may have several positives.
        form: of InfoNCE where no `loss` is set.
        two_way: anchors and candidates are the rows of both sides.

    Raises:
        ValueError: an unknown part or argument, two parts that exclude each other, or a part that asks for
            what the objective does not have.
    """
    settings = dict(settings or {})
    check_settings(settings)
    check_together(settings, several, two_way)
    similarity = settings.get("similarity") or {"type": "Cosine", "temperature": temperature}
    made: dict[str, Any] = {
        slot: [_part(slot, config, dim) for config in settings.get(slot) or ()] for slot in LISTS
    }
    made["similarity"] = _part("similarity", similarity, dim)
    if (loss := _loss(settings, similarity["type"], form)) is not None:
        made["loss"] = _part("loss", loss, dim)
    contrast = Contrast(**made, block=settings.get("block"))
    _check_fits(contrast, facts, gather, unit_rows)
    return contrast


def _loss(settings: Settings, similarity: str, form: str) -> Mapping[str, Any] | None:
    """The loss that is set, or that the parts or the objective's form of InfoNCE imply."""
    loss: Mapping[str, Any] | None = settings.get("loss")
    if loss is not None:
        return loss
    if any(config["type"] in IMPLY_DCL for _, config in configs(settings)):
        return {"type": "DCL"}
    form = getattr(part_type("similarity", similarity), "form", None) or form
    return {"type": "InfoNCE", "form": form} if form != "out" and settings else None


def _check_fits(contrast: Contrast, facts: Sequence[str], gather: bool, unit_rows: bool) -> None:
    for part in contrast.parts():
        check_unit_rows(part, unit_rows)
    missing = sorted(set(contrast.wants) - set(facts))
    if missing:
        part = next(part for part in contrast.parts() if set(part.wants) & set(missing))
        known = ", ".join(facts) or "nothing"
        raise ValueError(
            f"{type(part).__name__} reads {', '.join(missing)} of the rows, and this objective knows {known}"
        )
    if gather and contrast.wants:
        part = next(part for part in contrast.parts() if part.wants)
        raise ValueError(
            f"{type(part).__name__} and gather exclude each other: of the rows of other ranks "
            f"{part.wants[0]} is not known"
        )


def check_settings(settings: Settings) -> None:
    """Refuse a slot or a type that is not known.

    Raises:
        ValueError: it names the known ones.
    """
    known = (*SLOTS, "block")
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"contrast has no {key!r}{did_you_mean(key, known)}; known: {', '.join(known)}")
        if (
            key in LISTS
            and value is not None
            and (isinstance(value, Mapping) or not isinstance(value, Sequence))
        ):
            raise ValueError(f"contrast.{key} is a list of parts, got {value!r}")
    for slot, config in configs(settings):
        if not isinstance(config, Mapping) or "type" not in config:
            raise ValueError(f"contrast.{slot} has {config!r}, expected dict(type=..., ...)")
        if config["type"] not in SLOTS[slot]:
            near = did_you_mean(str(config["type"]), SLOTS[slot])
            raise ValueError(
                f"unknown type {config['type']!r} in contrast.{slot}{near}; known: "
                f"{', '.join(sorted(SLOTS[slot]))}"
            )


def configs(settings: Settings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(slot, config) of each part that is set, in the order in which they are applied."""
    for slot in SLOTS:
        value = settings.get(slot)
        if value is None:
            continue
        for config in value if slot in LISTS else [value]:
            yield slot, config


def contrast_needs(settings: Settings | None) -> Needs:
    """What the loader must make for the parts of a contrast."""
    if not isinstance(settings, Mapping):
        return Needs()
    try:
        check_settings(settings)
    except ValueError:
        return Needs()  # said where it is built
    needs = [part_type(slot, config["type"]).needs_of(config) for slot, config in configs(settings)]
    return reduce(or_, needs, Needs())


def _part(slot: str, config: Mapping[str, Any], dim: int) -> Part:
    given = dict(config)
    if "dim" in inspect.signature(part_type(slot, config["type"])).parameters and "dim" not in given:
        given["dim"] = dim
    return build(given, SLOTS[slot], f"contrast.{slot}")
