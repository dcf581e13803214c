"""Pretraining, fine-tuning and evaluation as functions: what the commands of the same names do."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Literal

from pc3d.data.errors import did_you_mean
from pc3d.engine.settings.shipped import config_file, shipped_configs

LIDARS: dict[str, dict[str, Any]] = {
    **{f"minkunet{depth}": {"type": "MinkUNet", "depth": depth} for depth in (18, 34, 50, 101)},
    "second": {"type": "SECOND"},
    "pointpillars": {"type": "PointPillars"},
}
"""Encoders of the default size by name."""
SCALES = {"small": "sim", "full": "nuscenes"}
"""Configs for CPUs and for GPUs, and what their names begin with."""


def pretrain(
    data: str | Path,
    method: str,
    out: str | Path,
    lidar: str | Mapping[str, Any] | None = None,
    scale: Literal["small", "full"] = "small",
    index: str | Path | None = None,
    regions: str | Path | None = None,
    workers: int | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    allow_change: Sequence[str] = (),
) -> Path:
    """Pretrain on a folder of drives; index and regions are made where they lack.

        pc3d.pretrain(data="/data/drives", method="superflow++", lidar="minkunet34", out="runs/a")

    Args:
        data: raw data set. out: run folder.
        method: name of an objective's config (`superflow++`, `slidr`, `fac`, `calico`, `joint`, ...), of any
            config that ships with pc3d, or the path of one.
        lidar: key of `LIDARS`, a `lidar` section, or None for that of the config.
        scale: `small` takes the `sim_*` configs, for CPUs; `full` the `nuscenes_*` ones.
        index, regions: of the data; by default in the run folder. workers: processes that cut regions.
        settings: others by dotted key, such as `{"schedule.iterations": 1000}`.
        resume, overwrite, allow_change: what to do with a run that is in `out`.

    Returns:
        Path of the `backbone.safetensors`.

    Raises:
        ValueError, DataError: an unknown method or encoder, wrong settings, or data that cannot be used.
    """
    _refuse_in_a_worker("pretrain")
    from pc3d.cli.pretrain import configured
    from pc3d.engine.pretrainer import pretrain as run

    path = method_config(method, scale)
    overrides = {**_lidar(lidar), **(settings or {})}
    arguments = Namespace(
        cfg_options=overrides,
        data=Path(data),
        work_dir=Path(out),
        index=None if index is None else Path(index),
        regions=None if regions is None else Path(regions),
        workers=workers,
        launcher="none",
    )
    config, work_dir = configured(arguments, path)
    return run(config, work_dir, resume=resume, overwrite=overwrite, allow_change=allow_change)


def finetune(
    config: str | Path,
    out: str | Path,
    index: str | Path | None = None,
    start: str | Path | None = None,
    partial: bool = False,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    allow_change: Sequence[str] = (),
) -> Path:
    """Fine-tune for segmentation, detection or map segmentation.

    Args:
        config: name of a config that ships with pc3d, such as `sim_5_percent`, or the path of one.
        out: run folder. index: to train on, instead of that of the config.
        start: backbone to start from. partial: load what fits of it.
        settings: others by dotted key.
        resume, overwrite, allow_change: what to do with a run that is in `out`.

    Returns:
        Path of the model's file.

    Raises:
        ValueError, DataError: wrong settings, or data that cannot be used.
    """
    _refuse_in_a_worker("finetune")
    from pc3d.cli.finetune import overrides_of
    from pc3d.engine.config import load_config
    from pc3d.engine.finetuner import finetune as run

    path = config_file(config, "finetune")
    arguments = Namespace(
        cfg_options=dict(settings or {}),
        partial=partial,
        init=None if start is None else Path(start),
        index=None if index is None else Path(index),
    )
    effective = load_config(path, "finetune", overrides_of(arguments, path))
    return run(effective, Path(out), resume=resume, overwrite=overwrite, allow_change=allow_change)


def evaluate(
    checkpoint: str | Path,
    index: str | Path | None = None,
    split: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    workers: int = 0,
    device: str | None = None,
) -> dict[str, Any]:
    """Score a fine-tuned model: nuScenes officially, other data by pc3d.

    Args:
        checkpoint: `segmenter`, `detector` or `map_segmenter.safetensors` of a run.
        index: by default that of the run. split: by default the validation split beside the run's.
        out: folder of metrics and predictions, by default beside the checkpoint.
        overwrite: replace metrics of other settings in it.

    Returns:
        The metrics.

    Raises:
        DataError: the checkpoint or the data cannot be used.
    """
    _refuse_in_a_worker("evaluate")
    from pc3d.cli.evaluate import data_of
    from pc3d.evaluation.downstream import evaluate_checkpoint
    from pc3d.evaluation.settings import evaluation_folder

    path = Path(checkpoint)
    arguments = Namespace(
        checkpoint=path, knn=False, index=None if index is None else Path(index), root=None, split=split
    )
    opened, chosen, _ = data_of(arguments)
    folder = path.parent / evaluation_folder(chosen) if out is None else Path(out)
    return evaluate_checkpoint(path, opened, chosen, folder, workers, overwrite=overwrite, device=device)


def _refuse_in_a_worker(name: str) -> None:
    """Workers import the user's script: what it does there unguarded would start over in each of them.

    Raises:
        RuntimeError: this process is one.
    """
    if parent_process() is not None:
        raise RuntimeError(
            f"pc3d.{name} was called while a worker process imports your script: put what the script does "
            'under `if __name__ == "__main__":`'
        )


def method_config(method: str, scale: str) -> Path:
    """The config of a method.

    Raises:
        ValueError: an unknown scale or method.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    try:
        return config_file(method, "pretrain")
    except FileNotFoundError:
        pass
    prefix = f"{SCALES[scale]}_"
    wanted = method.lower().replace("+", "p").replace("-", "").replace("_", "").replace(" ", "")
    names = [name.rpartition("/")[2] for name in shipped_configs("pretrain")]
    known = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    for name in known:
        if name.replace("_", "") == wanted:
            return config_file(f"{prefix}{name}", "pretrain")
    near = did_you_mean(wanted, known)
    raise ValueError(f"no method {method!r} of scale {scale!r}{near}; known: {', '.join(sorted(known))}")


def _lidar(lidar: str | Mapping[str, Any] | None) -> dict[str, Any]:
    if lidar is None:
        return {}
    if isinstance(lidar, Mapping):
        return {"lidar": {"_delete_": True, **lidar}}
    if lidar.lower() not in LIDARS:
        near, known = did_you_mean(lidar, LIDARS), ", ".join(LIDARS)
        raise ValueError(f"unknown encoder {lidar!r}{near}; known: {known}, or a `lidar` section")
    return {"lidar": {"_delete_": True, **LIDARS[lidar.lower()]}}
