"""The model card beside checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from pc3d.engine.model_card import CARD, CONFIG, update_results, write_card
from pc3d.engine.runs.folder import empty, mark_finished
from pc3d.evaluation.settings import write_metrics
from pc3d.models.weights import save_backbone
from pc3d.storage.whole import file_sha256, write_json

CONTRACT = {"optimizer.lr": 0.1, "schedule.iterations": 3, "data.crop": 5, "init.run.backbone": "content 12"}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A fine-tuned model and its averaged weights."""
    metadata = {"lidar": json.dumps({"type": "MinkUNet"}), "head": json.dumps({"hidden": 8})}
    found = [tmp_path / "segmenter.safetensors", tmp_path / "segmenter_ema.safetensors"]
    for path in found:
        save_backbone(nn.Linear(2, 2), path, metadata)
    write_json(tmp_path / "data.json", {"sources": [{"index": "/gone/drives", "split": "train"}]})
    return found


def card_of(folder: Path) -> str:
    return (folder / CARD).read_text()


def evaluated(path: Path, **result: Any) -> Path:
    folder = path.parent / "evaluation"
    folder.mkdir(exist_ok=True)
    settings = {"checkpoint": {"file": path.name, "sha256": file_sha256(path)}, "split": "val"}
    return write_metrics(folder, result, settings)


def test_the_card_says_what_is_known(files: list[Path], tmp_path: Path) -> None:
    write_card(tmp_path, files, CONTRACT)
    card = card_of(tmp_path)
    assert card.startswith("---\nlibrary_name: pc3d\nlicense: other\n")
    assert "# A model for lidarseg, by pc3d" in card
    for path in files:
        assert f"- `{path.name}`, sha256 {file_sha256(path)}, content " in card
        assert f'pc3d.load_model("hf://OWNER/NAME/{path.name}")' in card
    assert '- `lidar`: {"type": "MinkUNet"}' in card
    assert "- fine-tuned for lidarseg, started from the weights under Settings" in card
    assert "- `init.run.backbone`: content 12" in card
    assert "data.crop" not in card
    assert "- index drives, split train: no longer there; licence not known" in card
    assert "/gone" not in card
    config = json.loads((tmp_path / CONFIG).read_text())
    assert (config["file"], config["head"]) == ("segmenter.safetensors", {"hidden": 8})
    assert config["files"] == {path.name: file_sha256(path) for path in files}


def test_an_evaluation_puts_its_results_in(files: list[Path], tmp_path: Path) -> None:
    write_card(tmp_path, files, CONTRACT)
    assert "None yet" in card_of(tmp_path)
    mine = card_of(tmp_path).replace("license: other", "license: mit")
    (tmp_path / CARD).write_text(mine)
    evaluated(files[0], miou=0.51239, classes=["car"])
    card = card_of(tmp_path)
    assert '- `segmenter.safetensors`, evaluation, split val: {"miou": 0.5124}' in card
    assert "license: mit" in card
    assert "None yet" not in card
    evaluated(files[0], miou=0.6)
    assert '{"miou": 0.6}' in card_of(tmp_path)
    assert "0.5124" not in card_of(tmp_path)


def test_results_of_other_weights_are_not_shown(files: list[Path], tmp_path: Path) -> None:
    """The run has gone on; the metrics of before lie there still."""
    write_card(tmp_path, files, CONTRACT)
    evaluated(files[0], miou=0.5)
    save_backbone(nn.Linear(2, 2), files[0], {"lidar": "{}"})
    write_card(tmp_path, files, CONTRACT)
    assert "None yet" in card_of(tmp_path)
    (tmp_path / "evaluation/metrics.json").write_text("{")
    update_results(tmp_path)
    assert "None yet" in card_of(tmp_path)


def test_files_of_others_stay(files: list[Path], tmp_path: Path) -> None:
    """A run in a folder with a README.md and config.json of somebody else's, and a card without our note."""
    (tmp_path / CARD).write_text("mine\n<!-- results -->\n<!-- end of the results -->\n")
    (tmp_path / CONFIG).write_text('{"model_type": "bert"}')
    before = {name: (tmp_path / name).read_bytes() for name in (CARD, CONFIG)}
    write_card(tmp_path, files, CONTRACT)
    evaluated(files[0], miou=0.5)
    mark_finished(tmp_path, CONTRACT, 3, files)
    empty(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in (CARD, CONFIG)} == before
    assert not any(path.exists() for path in files)


def test_a_removed_run_leaves_no_card(files: list[Path], tmp_path: Path) -> None:
    write_card(tmp_path, files, CONTRACT)
    empty(tmp_path)
    assert list(tmp_path.iterdir()) == []
