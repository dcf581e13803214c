"""Runs in stages that end early: no stage is taken for finished, none starts from weights of others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from engine_configs import BEV, pretrain_config
from mmengine.config import Config
from run_trials import Killed, files, killed_at, prc

from pc3d.data.errors import DataError
from pc3d.engine import hooks
from pc3d.engine.pretrainer import pretrain
from pc3d.engine.runs.folder import FINISHED, check_weights, read_marker
from pc3d.models.weights import save_backbone
from pc3d.storage.whole import file_sha256

WEIGHTS = [f"{s}/{name}.safetensors" for s in ("prc", "rad", ".") for name in ("backbone", "heads", "camera")]


def calico(index: Path, regions: Path, **more: Any) -> Config:
    settings = {**BEV, "runtime.save_every": 1, **more}
    return pretrain_config(index, regions, 2, "sim_calico", narrow=False, **settings)


@pytest.fixture(scope="module")
def straight(tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stages") / "straight"
    pretrain(calico(tiny_index, tiny_regions), run)
    return run


@pytest.fixture
def run(straight: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(straight, tmp_path / "run"))


def assert_same_weights(first: Path, second: Path) -> None:
    for name in WEIGHTS:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_other_settings_are_refused_and_change_nothing(
    run: Path, tiny_index: Path, tiny_regions: Path
) -> None:
    before = files(run)
    other = calico(tiny_index, tiny_regions, **{"optimizer.lr": 1e-3})
    with pytest.raises(DataError, match=r"optimizer\.lr"):
        pretrain(other, run, resume=True)
    with pytest.raises(DataError, match="finished run"):
        pretrain(other, run)
    assert files(run) == before
    check_weights(run / "backbone.safetensors")


def test_each_stage_and_the_whole_have_a_card(straight: Path) -> None:
    for folder, method in (("prc", "prc"), ("rad", "rad"), (".", "rad")):
        card = (straight / folder / "README.md").read_text()
        assert f"# A backbone pretrained with {method}, by" in card
        for name in ("backbone", "heads", "camera"):
            hash_ = file_sha256(straight / folder / f"{name}.safetensors")
            assert f"- `{name}.safetensors`, sha256 {hash_}" in card
        assert json.loads((straight / folder / "config.json").read_text())["file"] == "backbone.safetensors"
    assert "licence: none: simulated by pc3d" in card


def test_a_stage_of_other_settings_is_never_taken_for_finished(
    run: Path, straight: Path, tiny_index: Path, tiny_regions: Path
) -> None:
    """Finished, begun again with another rate, killed in the first step of the first stage, gone on with."""
    other = calico(tiny_index, tiny_regions, **{"optimizer.lr": 1e-3})
    killed_at(0, lambda: pretrain(other, run, overwrite=True))
    assert not list(run.rglob(FINISHED))
    assert not list(run.rglob("*.safetensors"))
    pretrain(other, run, resume=True)
    for stage in ("prc", "rad", "."):
        marker = read_marker(run / stage)
        assert marker is not None
        assert marker["contract"]["optimizer.lr"] == 1e-3
        old = (straight / stage / "heads.safetensors").read_bytes()
        assert (run / stage / "heads.safetensors").read_bytes() != old


@pytest.mark.parametrize("stage", ["prc", pytest.param("rad", marks=pytest.mark.long)])
def test_killed_between_the_files_of_a_stage(
    straight: Path,
    tiny_index: Path,
    tiny_regions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    """The next --resume completes it; until then nobody takes the weights."""

    def dying(model: Any, path: Path, metadata: dict[str, str]) -> str:
        if path.parent.name == stage and path.stem == "heads":
            raise Killed
        return save_backbone(model, path, metadata)

    config = calico(tiny_index, tiny_regions)
    with monkeypatch.context() as patched:
        patched.setattr(hooks, "save_backbone", dying)
        with pytest.raises(Killed):
            pretrain(config, tmp_path)
    with pytest.raises(DataError, match="not finished"):
        check_weights(tmp_path / stage / "backbone.safetensors")
    pretrain(config, tmp_path, resume=True)
    assert_same_weights(straight, tmp_path)
    check_weights(tmp_path / "backbone.safetensors")


@pytest.mark.long
def test_killed_in_the_second_stage(
    straight: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    """The first one is not run again, the second one goes on from its last save."""
    config = calico(tiny_index, tiny_regions)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hooks.WeightsHook, "before_train_iter", _kill_in_rad)
        with pytest.raises(Killed):
            pretrain(config, tmp_path)
    first = (tmp_path / "prc" / FINISHED).stat().st_mtime_ns
    pretrain(config, tmp_path, resume=True)
    assert (tmp_path / "prc" / FINISHED).stat().st_mtime_ns == first
    assert_same_weights(straight, tmp_path)


def _kill_in_rad(hook: hooks.WeightsHook, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
    if hook.run.folder.name == "rad" and runner.iter == 1:
        raise Killed


def test_a_run_of_another_kind_is_not_gone_on_with(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    """A run without stages in the folder of one that has some, and the reverse."""
    staged, single = tmp_path / "staged", tmp_path / "single"
    killed_at(1, lambda: pretrain(calico(tiny_index, tiny_regions), staged))
    pretrain(prc(tiny_index, tiny_regions, 1), single)
    before = files(tmp_path)
    for resume, what in ((False, "run in stages that was begun"), (True, "run in the stages prc, rad")):
        with pytest.raises(DataError, match=what):
            pretrain(prc(tiny_index, tiny_regions, 1), staged, resume=resume)
    for resume, what in ((False, "a finished run"), (True, "a run without stages")):
        with pytest.raises(DataError, match=what):
            pretrain(calico(tiny_index, tiny_regions), single, resume=resume)
    assert files(tmp_path) == before
