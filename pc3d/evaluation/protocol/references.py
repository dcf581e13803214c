"""Backbones beside what needs no pretraining: one table for a training and a validation part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pc3d.data.errors import fail
from pc3d.evaluation.label_efficiency import json_values
from pc3d.evaluation.protocol.data import ProbeData
from pc3d.evaluation.protocol.features import (
    Pair,
    Statistics,
    beside,
    both_statistics,
    hand_made,
    of_teacher,
    raw,
    without_intensity,
)
from pc3d.evaluation.protocol.networks import Backbone, Teacher
from pc3d.evaluation.protocol.probes import NEIGHBOURS, C, probe

RAW = "z, intensity, range"
HAND_MADE = "hand-made"
WITHOUT_INTENSITY = "hand-made without intensity"
RANDOM = "random network"
TEACHER = "teacher"
ALL, SEEN = "all", "seen"
_ENDINGS: dict[Statistics, str] = {"fixed": "", "estimated": ", estimated statistics"}


def reference_table(
    train: ProbeData,
    val: ProbeData,
    backbones: Mapping[str, Backbone],
    teacher: Teacher | None = None,
    c: float = C,
    k: int = NEIGHBOURS,
    seed: int = 0,
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Both probes of the references and of backbones, all on the same points.

    Rows: raw columns; the hand-made statistics, with and without intensity; of each backbone config a random
    network; each network with the batch-norm statistics that it has and with those of the training part; the
    hand-made statistics beside each network, which show what it adds to them. With a teacher all of it again
    on the points that a camera sees, and the teacher's features at their pixels.

    Args:
        train, val: may be of two data sets, with the same classes.
        backbones: by the name that the table shows.
        c, k: of the probes. seed: of the random networks.
        say: is told what is computed.

    Returns:
        JSON values: `settings`, and under `all` (with a teacher also `seen`) the number of points, the
        `order` of the rows, and `rows`: by name `columns` (width of the features) and what `probe` gives.

    Raises:
        DataError: the parts have different classes or share a sweep; no camera sees a point.
        ValueError: two rows would have one name.
    """
    _check(train, val, backbones)
    features: dict[str, Pair] = dict(_features(train, val, backbones, seed, say))
    table: dict[str, Any] = {
        "settings": {
            "c": c,
            "k": k,
            "seed": seed,
            "classes": list(train.classes),
            "train": _described(train),
            "val": _described(val),
        },
        ALL: _block(train, val, features, c, k, say),
    }
    if teacher is not None:
        say(TEACHER)
        a, b = (of_teacher(data, teacher.encoder, teacher.frames) for data in (train, val))
        features[TEACHER] = a, b
        features[_beside(TEACHER)] = _joined(features[HAND_MADE], features[TEACHER])
        table[SEEN] = _block(*_seen(train, val, features), c, k, say)
    return json_values(table)


def markdown(table: Mapping[str, Any]) -> str:
    """The mIoU of a reference table, in percent."""
    titles = {ALL: "All points", SEEN: "Points that a camera sees"}
    return "\n".join(_block_text(titles[name], table[name]) for name in titles if name in table)


def _block_text(title: str, block: Mapping[str, Any]) -> str:
    lines = [
        f"{title} ({block['train_points']} training, {block['val_points']} validation points), mIoU in %",
        "",
        "| features | columns | logistic | kNN |",
        "|---|---|---|---|",
    ]
    unfinished = False
    for name in block["order"]:
        row = block["rows"][name]
        star = "" if row["logistic"]["fit"]["converged"] else " *"
        unfinished |= bool(star)
        scores = f"{100 * row['logistic']['miou']:.1f}{star} | {100 * row['knn']['miou']:.1f}"
        lines.append(f"| {name} | {row['columns']} | {scores} |")
    notes = ["", "\\* the logistic regression did not converge"] if unfinished else []
    return "\n".join([*lines, *notes, ""])


def _check(train: ProbeData, val: ProbeData, backbones: Mapping[str, Backbone]) -> None:
    if train.classes != val.classes:
        fail(
            f"the training part has the classes {_listed(train.classes)}, the validation part "
            f"{_listed(val.classes)}",
            f"{train.index.folder} and {val.index.folder}",
            "label both with the common classes (--common), or choose data of the same classes",
        )
    twice = sorted(set(train.tokens) & set(val.tokens)) if _same_data(train, val) else []
    if twice:
        remedy = "choose splits of different drives"
        fail(f"{len(twice)} sweeps are in both parts, the first {twice[0]!r}", train.index.folder, remedy)
    taken = {RAW, HAND_MADE, WITHOUT_INTENSITY, TEACHER, *(_random_name(name) for name in backbones), RANDOM}
    if wrong := sorted(taken & set(backbones)):
        raise ValueError(f"a backbone is named {wrong[0]!r} as a reference is: give it another name")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f", ... ({len(names)})" if len(names) > 6 else "")


def _same_data(train: ProbeData, val: ProbeData) -> bool:
    return train.index.fingerprint == val.index.fingerprint


def _features(
    train: ProbeData,
    val: ProbeData,
    backbones: Mapping[str, Backbone],
    seed: int,
    say: Callable[[str], object],
) -> Iterator[tuple[str, Pair]]:
    say(RAW)
    yield RAW, (raw(train), raw(val))
    say(HAND_MADE)
    ours = hand_made(train), hand_made(val)
    yield HAND_MADE, ours
    yield WITHOUT_INTENSITY, (without_intensity(ours[0]), without_intensity(ours[1]))
    networks = {**_random_networks(backbones, seed), **backbones}
    beside_ours = {}
    for name, backbone in networks.items():
        say(name)
        for statistics, pair in both_statistics(train, val, backbone.encoder, backbone.frames):
            row = name + _ENDINGS[statistics]
            yield row, pair
            beside_ours[_beside(row)] = _joined(ours, pair)
    yield from beside_ours.items()


def _random_networks(backbones: Mapping[str, Backbone], seed: int) -> dict[str, Backbone]:
    """A random network of each config that there is."""
    first: dict[str, str] = {}
    for name, backbone in backbones.items():
        first.setdefault(json.dumps(dict(backbone.config), sort_keys=True, default=str), name)
    several = len(first) > 1
    return {
        _random_name(name) if several else RANDOM: backbones[name].random(seed) for name in first.values()
    }


def _random_name(name: str) -> str:
    return f"{RANDOM} like {name}"


def _beside(name: str) -> str:
    return f"{HAND_MADE} beside {name}"


def _joined(ours: Pair, other: Pair) -> Pair:
    """Hand-made features are there where the other ones are zero, too."""
    return beside(ours[0], other[0]), beside(ours[1], other[1])


def _block(
    train: ProbeData,
    val: ProbeData,
    features: Mapping[str, Pair],
    c: float,
    k: int,
    say: Callable[[str], object],
) -> dict[str, Any]:
    rows = {}
    for name, (x, y) in features.items():
        say(f"probes of {name}")
        scores = probe(x.values, train.labels, y.values, val.labels, train.num_classes, train.classes, c, k)
        rows[name] = {"columns": x.values.shape[1], **scores}
    return {"train_points": len(train), "val_points": len(val), "order": list(rows), "rows": rows}


def _seen(
    train: ProbeData, val: ProbeData, features: Mapping[str, Pair]
) -> tuple[ProbeData, ProbeData, dict[str, Pair]]:
    """The points that a camera sees, and their features."""
    on_train, on_val = (part.seen for part in features[TEACHER])
    for data, mask in ((train, on_train), (val, on_val)):
        if not mask.any():
            remedy = "check the calibration (`pc3d calibration`), or leave the teacher out"
            fail(f"no camera sees any of the {len(mask)} points", data.index.folder, remedy)
    chosen = {name: (a.select(on_train), b.select(on_val)) for name, (a, b) in features.items()}
    return train.select(on_train), val.select(on_val), chosen


def _described(data: ProbeData) -> dict[str, Any]:
    return {
        "index": data.index.fingerprint,
        "dataset": data.index.metadata.get("dataset"),
        "sweeps": len(data.tokens),
        "points": len(data),
    }
