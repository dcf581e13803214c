"""What an evaluation was made with, the folder that its settings have, and its `metrics.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pc3d
from pc3d.data.errors import DataError, fail
from pc3d.data.index import SweepIndex
from pc3d.data.region_cache import RegionCache
from pc3d.engine.averaging import SUFFIX
from pc3d.engine.model_card import update_results
from pc3d.evaluation.label_efficiency import json_values
from pc3d.evaluation.temporal_voting import VotingConfig
from pc3d.evaluation.test_time_augmentation import AugmentedCopies
from pc3d.storage import disk
from pc3d.storage.whole import file_sha256, read_json, write_bytes

METRICS = "metrics.json"
_NOTES = ("pc3d", "checkpoint")


def evaluation_folder(
    split: str,
    tta: AugmentedCopies | None = None,
    voting: VotingConfig | None = None,
    tracks: bool = False,
    evaluator: str | None = None,
    checkpoint: Path | None = None,
) -> str:
    """Name of the folder of an evaluation inside its run's.

    `evaluation` is the plain one of a validation split (`val`, `sim_val`); other settings stand in the name:
    `evaluation-sim_train`, `evaluation-tta8`, `evaluation-voting1-average`.

    Args:
        split: that is predicted. tta, voting: as `evaluate_segmenter` takes them.
        tracks: moving segments take no part in the vote.
        evaluator: that was asked for; None for the one of the data set.
        checkpoint: that is evaluated, if it matters: averaged weights have a folder of their own.
    """
    parts = ["evaluation"] + ([evaluator] if evaluator else [])
    if checkpoint is not None and checkpoint.stem.endswith(SUFFIX):
        parts.append("ema")
    if split != "val" and not split.endswith("_val"):
        parts.append(split)
    if tta:
        parts.append(f"tta{tta.count}")
    if voting:
        parts.append(f"voting{voting.neighbours}")
        plain = VotingConfig(voting.neighbours)
        for field in fields(voting):
            value = getattr(voting, field.name)
            if value != getattr(plain, field.name) and field.name != "moving_classes":
                name = {"voxel_size": "voxel", "half_life": "half-life", "combine": ""}[field.name]
                parts.append(f"{name}{value}")
        parts += ["tracks"] if tracks else []
    return "-".join(parts)


def evaluation_settings(
    checkpoint: Path,
    index: SweepIndex,
    split: str,
    tta: AugmentedCopies | None = None,
    voting: VotingConfig | None = None,
    tracks: RegionCache | None = None,
    own: bool = False,
    scoring: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the metrics depend on, as JSON values; nothing of it is a path.

    Args:
        own: pc3d scores what a devkit could, or what none can. scoring: how it scores boxes.
    """
    settings = {
        "checkpoint": {"file": Path(checkpoint).name, "sha256": file_sha256(checkpoint)},
        "data": {
            "dataset": index.metadata["dataset"],
            "version": index.metadata.get("version"),
            "index": index.fingerprint,
        },
        "split": split,
        "tta": asdict(tta) if tta else None,
        "voting": asdict(voting) if voting else None,
        "tracks": tracks.params if tracks else None,
        "evaluator": "pc3d" if own else None,
        "scoring": scoring,
        "pc3d": pc3d.__version__,
    }
    return json.loads(json.dumps(settings))


def prepare_folder(
    folder: Path, checkpoint: Path, settings: Mapping[str, Any], overwrite: bool = False
) -> None:
    """Make the folder of an evaluation ready: it must not hold metrics of other settings.

    Metrics of the same settings go first, so that those that are there belong to the files beside them. In
    the checkpoint's own folder the settings are the same when only its weights have changed, because the run
    has gone on; elsewhere other weights are another evaluation.

    Args:
        overwrite: replace whatever is there.

    Raises:
        DataError: with what differs.
    """
    folder, path = Path(folder), Path(folder) / METRICS
    if path.exists() and not overwrite:
        beside = folder.resolve().parent == Path(checkpoint).resolve().parent
        different = _differences(path, settings, weights=not beside)
        if different:
            remedy = "name another folder with --out, or replace them with --overwrite"
            fail(f"the folder holds metrics of {different}", folder, remedy)
    folder.mkdir(parents=True, exist_ok=True)
    disk.remove(path)


def _differences(path: Path, settings: Mapping[str, Any], weights: bool) -> str:
    """What the metrics of a file were made with otherwise, in words; empty for the same."""
    try:
        then = read_json(path).get("settings")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"the metrics in the folder cannot be read: {error}\n  where: {path}\n"
            "  remedy: remove the file, or replace it with --overwrite"
        ) from error
    if not isinstance(then, dict) or not isinstance(then.get("checkpoint"), dict):
        return "an evaluation that does not say how it was made (of an older pc3d)"
    if then["checkpoint"].get("file") != settings["checkpoint"]["file"]:
        return f"another model: {then['checkpoint'].get('file')}"
    if weights and then["checkpoint"] != settings["checkpoint"]:
        return "other weights of that name"
    other = [name for name in settings if name not in _NOTES and then.get(name) != settings[name]]
    words = (f"{name} {_short(then.get(name))} (now {_short(settings[name])})" for name in other)
    return "other settings: " + ", ".join(words) if other else ""


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def write_metrics(
    folder: Path | str, result: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> Path:
    """Write `metrics.json`, last of an evaluation's files and all or nothing, and into the run's model card.

    Args:
        result: what is scored. settings: go in under `settings`.
    """
    path = Path(folder) / METRICS
    content = json_values({**result, **({"settings": settings} if settings else {})})
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())
    update_results(path.resolve().parent.parent)
    return path
