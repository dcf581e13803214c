"""`data.sampler`: its settings, its place in the contract of a run, and the batches of a loader."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_configs import CONFIGS, pretrain_config
from mmengine.config import Config

from pc3d.data.batch import Needs
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.sampler_settings import build_sampler
from pc3d.data.sampler_table import SamplerTable
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import MixedDataset, build_dataset
from pc3d.engine.runs.settings import run_contract
from pc3d.engine.settings.options import Text
from pc3d.engine.training import build_loader

PRC = CONFIGS / "pretrain/sim_prc.py"


def config_of(index: Path, **settings: Any) -> tuple[Config, MixedDataset]:
    config = pretrain_config(index, index, 4, "sim_prc", **settings)
    return config, build_dataset(plain(config.data), Needs(), config.seed)


@pytest.fixture
def table(tiny_index: Path, tmp_path: Path) -> Path:
    index = SweepIndex.open(tiny_index)
    rows = index.key_rows("sim_train").astype(np.int64)
    numbers = np.arange(len(rows))
    made = SamplerTable(
        (index.fingerprint,), numbers * 0, rows, numbers[::-1, None].copy(), numbers * 2 // len(rows)
    )
    made.save(tmp_path / "table.npz")
    return tmp_path / "table.npz"


@pytest.mark.parametrize("kind", ["Neighbours", "Clusters"])
def test_a_loader_reads_whole_batches_and_goes_on_anywhere(kind: str, tiny_index: Path, table: Path) -> None:
    config, dataset = config_of(tiny_index, **{"data.sampler": {"type": kind, "table": str(table)}})

    def tokens(start: int, count: int) -> list[list[str]]:
        sampler = build_sampler(plain(config.data.sampler), dataset.parts, 2, config.seed)
        sampler.start = 2 * start
        return [batch.tokens for batch in islice(build_loader(dataset, 2, 0, config.seed, sampler), count)]

    whole = tokens(0, 5)
    assert tokens(3, 2) == whole[3:]
    part = dataset.parts[0]
    found = SamplerTable.open(table)
    number = {part.index[int(row)].token: n for n, row in enumerate(part.rows.tolist())}
    for first, second in whole:
        a, b = number[first], number[second]
        assert a + b == len(number) - 1 if kind == "Neighbours" else found.labels[a] == found.labels[b]


def test_the_contract_knows_a_sampler_by_the_content_of_its_table(tiny_index: Path, table: Path) -> None:
    config, dataset = config_of(tiny_index)
    plainly = run_contract(config, dataset, 4, 1)
    assert not any("sampler" in key or "view_crop" in key for key in plainly)
    config, _ = config_of(tiny_index, **{"data.sampler": {"type": "Neighbours"}})
    near = run_contract(config, dataset, 4, 1)
    assert {key: value for key, value in near.items() if key not in plainly} == {
        "data.sampler.type": "Neighbours",
        "data.sampler.near": [10.0, 100.0],
        "data.sampler.reach": 128,
    }
    config, _ = config_of(tiny_index, **{"data.sampler": {"type": "Clusters", "table": str(table)}})
    assert run_contract(config, dataset, 4, 1)["data.sampler.table"].startswith("content ")
    config.data.sampler.table = str(table.with_name("other.npz"))
    with pytest.raises(DataError, match="cannot be read"):
        run_contract(config, dataset, 4, 1)


def test_crops_are_a_setting_of_the_data(tiny_index: Path) -> None:
    config, dataset = config_of(tiny_index, **{"data.view_crop": {"shape": "box"}})
    assert dataset.parts[0].config.view_crop is not None
    contract = run_contract(config, dataset, 4, 1)
    assert (contract["data.view_crop.shape"], contract["data.view_crop.share"]) == ("box", [0.25, 0.5])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data.sampler.type": "Neighbors"}, "expected one of 'Clusters', 'Neighbours'"),
        ({"data.sampler.near": "1,2"}, "`data.sampler.type` is missing"),
        ({"data.sampler.type": "Clusters"}, "`data.sampler.table` is missing, expected a path"),
        ({"data.sampler.type": "Neighbours", "data.sampler.nearr": "1"}, "did you mean `data.sampler.near`"),
        ({"data.sampler.type": "Neighbours", "data.sampler.near": "9,1"}, "`data.sampler.near` cannot be"),
        ({"data.sampler.type": "Neighbours", "data.sampler.near": "9"}, "expected 2 numbers"),
        ({"data.view_crop.share": "0.9,0.1"}, "`data.view_crop.share` cannot be used"),
        ({"data.view_crop.shape": "round"}, "expected one of 'sector', 'box'"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=r"wrong setting") as error:
        load_config(PRC, "pretrain", {key: Text(value) for key, value in given.items()})
    assert said in str(error.value)


def test_right_settings_are_taken() -> None:
    given = {"data.sampler.type": "Neighbours", "data.sampler.near": "5,50", "data.sampler.select": "none"}
    config = load_config(PRC, "pretrain", {key: Text(value) for key, value in given.items()})
    assert tuple(config.data.sampler.near) == (5, 50)
    assert load_config(PRC, "pretrain", {"data.sampler": None}).data.sampler is None
