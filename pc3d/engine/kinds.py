"""The two kinds of training, `pretrain` and `finetune`: their models and their data, from a config."""

from __future__ import annotations

from collections.abc import Callable

from mmengine.config import Config

from pc3d.engine.config import plain
from pc3d.engine.data import MixedDataset, build_dataset
from pc3d.engine.data_classes import follow_index
from pc3d.engine.finetuner import build_finetuner, task_needs
from pc3d.engine.pretrainer import build_pretrainer, objective_needs
from pc3d.engine.training import TrainableModel

BUILD: dict[str, Callable[[Config], TrainableModel]] = {
    "pretrain": build_pretrainer,
    "finetune": build_finetuner,
}


def data_of(config: Config, kind: str) -> tuple[MixedDataset, Config]:
    """The training data of a config, and the config with the classes of these data where it reads any.

    Raises:
        DataError: an index or regions that are not there.
    """
    settings, seed = plain(config.data), config.get("seed", 0)
    if kind == "pretrain":
        return build_dataset(settings, objective_needs(plain(config.objectives)), seed), config
    dataset = build_dataset(settings, task_needs(config), seed)
    return dataset, follow_index(config, dataset)
