"""Which folders a run may start in, what an end at any instant leaves there, and what is taken from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from engine_configs import read_metrics
from run_trials import Killed, ended, files, killed_at, prc

from pc3d.data.errors import DataError
from pc3d.engine.checkpoints import load_encoder
from pc3d.engine.config import load_config, plain
from pc3d.engine.pretrainer import pretrain
from pc3d.engine.runs.contract import LENGTH
from pc3d.engine.runs.folder import FINISHED, RUN, check_weights, empty, is_finished, mark_finished
from pc3d.engine.runs.store import CheckpointStore
from pc3d.storage import disk
from pc3d.storage.whole import write_json


@pytest.fixture(scope="module")
def whole(tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("folder") / "whole"
    pretrain(prc(tiny_index, tiny_regions), run)
    return run


@pytest.fixture(scope="module")
def begun(tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("folder") / "begun"
    config = prc(tiny_index, tiny_regions, **{"runtime.save_every": 1})
    killed_at(1, lambda: pretrain(config, run))
    return run


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    """A copy of the begun run, in a folder of another name."""
    return Path(shutil.copytree(begun, tmp_path / "copy"))


def test_an_occupied_folder_is_refused_and_untouched(
    whole: Path, begun: Path, tiny_index: Path, tiny_regions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, what in ((whole, "a finished run"), (begun, "a run that was begun")):
        before = files(folder)
        for more in ({}, {"optimizer.lr": 1.0}):
            code, message = ended(lambda: pretrain(prc(tiny_index, tiny_regions, **more), folder), capsys)  # noqa: B023
            assert code == 2
            assert f"the folder holds {what}" in message
            assert "--resume" in message
            assert "--overwrite" in message
        assert files(folder) == before


def test_a_refused_resume_leaves_the_folder_as_it_was(
    whole: Path, begun: Path, tiny_index: Path, tiny_regions: Path
) -> None:
    for folder in (whole, begun):
        before = files(folder)
        with pytest.raises(DataError, match=r"optimizer\.lr: 0\.002 then, 1\.0 now"):
            pretrain(prc(tiny_index, tiny_regions, **{"optimizer.lr": 1.0}), folder, resume=True)
        assert files(folder) == before


def test_overwriting_starts_anew(run: Path, whole: Path, tiny_index: Path, tiny_regions: Path) -> None:
    (run / "failure").mkdir()
    pretrain(prc(tiny_index, tiny_regions), run, overwrite=True)
    assert (run / "backbone.safetensors").read_bytes() == (whole / "backbone.safetensors").read_bytes()
    assert [row["step"] for row in read_metrics(run)] == [1, 2]
    assert not (run / "failure").exists()
    assert [path.name for path in run.glob("iter_*.pth")] == ["iter_2.pth"]


def _made_up(folder: Path) -> dict[str, object]:
    """A finished run's files, without a training."""
    contract: dict[str, object] = {"optimizer.lr": 1.0, LENGTH: 2}
    folder.mkdir()
    write_json(folder / RUN, {"format": 2, "contract": contract})
    for step in (1, 2):
        CheckpointStore(folder).save({"model": {"w": torch.ones(1)}}, step, step, contract)
    paths = [folder / f"{name}.safetensors" for name in ("backbone", "heads")]
    for path in paths:
        path.write_bytes(b"weights")
    (folder / "config.py").touch()
    mark_finished(folder, contract, 2, paths)
    return contract


def test_no_end_while_overwriting_leaves_something_to_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each call that removes a file: no marker, and whatever weights are left are refused."""
    remove, calls = disk.remove, 0
    killed = 0
    for kill in range(100):
        folder = tmp_path / str(kill)
        contract = _made_up(folder)
        calls = 0

        def dying(path: Path, kill: int = kill) -> None:
            nonlocal calls
            if calls == kill:
                raise Killed
            calls += 1
            remove(path)

        with monkeypatch.context() as patched:
            patched.setattr(disk, "remove", dying)
            try:
                empty(folder)
                break
            except Killed:
                killed += 1
        assert not is_finished(folder, {**contract, "optimizer.lr": 2.0})
        assert is_finished(folder, contract) == (kill == 0)
        for path in folder.glob("*.safetensors") if kill else ():
            with pytest.raises(DataError, match="not finished"):
                check_weights(path)
        empty(folder)
        assert not list(folder.iterdir())
    assert killed > 10


def test_a_moved_renamed_or_copied_run_goes_on_from_itself(
    begun: Path, whole: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    config, before = prc(tiny_index, tiny_regions), files(begun)
    copied = Path(shutil.copytree(begun, tmp_path / "copied"))
    moved = Path(shutil.copytree(begun, tmp_path / "there"))
    moved = moved.rename(tmp_path / "renamed")
    torch.save({"of": "another run"}, copied.with_name("iter_1.pth"))
    for folder in (copied, moved):
        pretrain(config, folder, resume=True)
        for name in ("backbone", "heads"):
            expected = (whole / f"{name}.safetensors").read_bytes()
            assert (folder / f"{name}.safetensors").read_bytes() == expected
        assert [row["step"] for row in read_metrics(folder)] == [1, 2]
    assert files(begun) == before


def test_no_file_of_a_run_holds_the_path_of_its_folder(whole: Path, begun: Path) -> None:
    for folder in (whole, begun):
        for name, (_, content) in files(folder).items():
            assert str(folder).encode() not in content, name


def test_the_same_seed_gives_the_same_bytes(
    whole: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    pretrain(prc(tiny_index, tiny_regions), tmp_path)
    for name in ("backbone.safetensors", "heads.safetensors", FINISHED):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_a_torn_line_of_metrics_is_dropped(run: Path, tiny_index: Path, tiny_regions: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 1.0}\n{"step": 1')
    pretrain(prc(tiny_index, tiny_regions), run, resume=True)
    assert [row["step"] for row in read_metrics(run)] == [1, 2]
    assert read_metrics(run)[1]["loss"] != 1.0


def test_weights_of_an_unfinished_run_are_refused(
    run: Path, whole: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    """Killed between the weights and the marker: they are there, and nobody takes them."""
    for name in ("backbone", "heads"):
        shutil.copy(whole / f"{name}.safetensors", run)
    with pytest.raises(DataError, match=r"not finished[\s\S]*--resume"):
        load_encoder(run / "backbone.safetensors")
    for init in ({"init.run": str(run)}, {"init.lidar": str(run / "backbone.safetensors")}):
        with pytest.raises(DataError, match="not finished"):
            pretrain(prc(tiny_index, tiny_regions, 1, **init), tmp_path / "next")
    load_encoder(whole / "backbone.safetensors")
    pretrain(prc(tiny_index, tiny_regions, 1, **{"init.run": str(whole)}), tmp_path / "of a whole one")


def test_another_run_in_the_folder_is_never_gone_on_with(
    run: Path, begun: Path, tiny_index: Path, tiny_regions: Path
) -> None:
    """B in A's folder, with and without --resume, and as what replaces A."""
    other = prc(tiny_index, tiny_regions, **{"optimizer.lr": 1e-3, "runtime.save_every": 1})
    with pytest.raises(DataError, match="that was begun"):
        pretrain(other, run)
    with pytest.raises(DataError, match=r"optimizer\.lr"):
        pretrain(other, run, resume=True)
    assert files(run).keys() == files(begun).keys()
    killed_at(0, lambda: pretrain(other, run, overwrite=True))
    pretrain(other, run, resume=True)
    assert [row["step"] for row in read_metrics(run)] == [1, 2]
    assert json.loads((run / FINISHED).read_text())["contract"]["optimizer.lr"] == 1e-3


def test_yaml_is_data(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"seed: !!python/object/apply:os.system ['touch {tmp_path}/ran']\n")
    with pytest.raises(DataError, match=r"no plain YAML[\s\S]*a \.py config"):
        load_config(config, "pretrain")
    assert not (tmp_path / "ran").exists()
    content = json.loads(json.dumps(plain(prc(tiny_index, tiny_regions))))
    config.write_text(yaml.safe_dump(content))
    assert plain(load_config(config, "pretrain")) == content
