"""Whether local statistics can be made, and are not learned from themselves, from the settings alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pc3d.data.frame_types import FrameConfig
from pc3d.data.sweeps import STATISTICS, check_features, stored_features
from pc3d.engine.settings.check import Fault
from pc3d.objectives.registry import objective_type


def statistics_faults(config: Mapping[str, Any], kind: str) -> Iterator[Fault]:
    """What is wrong with `data.features` and with objectives that read statistics."""
    features = tuple(config["data"].get("features", FrameConfig.features))
    try:
        check_features(features)
    except ValueError as error:
        yield Fault("data.features", str(error).removeprefix("features "))
        return
    read = [
        name
        for name, settings in (config["objectives"].items() if kind == "pretrain" else ())
        if objective_type(settings).needs_of(settings).statistics
    ]
    if read and "intensity" not in features:
        yield Fault("data.features", f"lacks 'intensity', which the objective {read[0]} is made of")
    if read and STATISTICS in features and _reads_statistics(config.get("lidar") or {}, features):
        yield Fault(
            f"objectives.{read[0]}",
            "would learn what the encoder is given: leave 'statistics' out of `data.features`, or of "
            "`lidar.columns`",
        )


def _reads_statistics(lidar: Mapping[str, Any], features: tuple[str, ...]) -> bool:
    """Whether a column of the statistics enters the encoder."""
    columns = lidar.get("columns")
    last = max(columns, default=0) if columns is not None else lidar.get("in_channels", 4) - 1
    return last >= 3 + len(stored_features(features))
