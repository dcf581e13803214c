"""The configs that ship with pc3d: by name from anywhere, shown whole, with what they need and cost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pc3d.data.errors import DataError
from pc3d.engine.config import config_file, load_config, plain
from pc3d.engine.config_facts import facts_of_file
from pc3d.engine.costs.shipped import read_costs
from pc3d.engine.costs.table import tables
from pc3d.engine.settings.shipped import shipped_configs, shipped_folder

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "docs/results/training-steps.md"
METHODS = REPOSITORY / "docs/methods.md"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sim_slidr", None),
        ("sim_slidr.py", None),
        ("pretrain/sim_slidr", None),
        ("configs/pretrain/sim_slidr.py", None),
        ("pc3d::pretrain/sim_slidr.py", None),
        ("sim_slidr", "pretrain"),
    ],
)
def test_a_shipped_config_is_found_by_its_name(
    name: str, kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_file(name, kind) == REPOSITORY / "configs/pretrain/sim_slidr.py"


def test_a_file_of_ones_own_comes_before_a_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sim_slidr.py").write_text("seed = 1\n")
    assert config_file("sim_slidr.py") == Path("sim_slidr.py")
    assert config_file("sim_slidr") == REPOSITORY / "configs/pretrain/sim_slidr.py"


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("sim_sldr", "pretrain", r"no config at sim_sldr; did you mean 'sim_slidr'\?.*`pc3d configs`"),
        ("sim_slidr", "finetune", r"no config at sim_slidr; did you mean 'sim_slidr'"),
        ("/nowhere/mine.py", None, r"no config at /nowhere/mine\.py; `pc3d configs`"),
    ],
)
def test_a_name_that_is_none(name: str, kind: str | None, says: str) -> None:
    with pytest.raises(FileNotFoundError, match=says):
        config_file(name, kind)


@pytest.mark.parametrize("base", ["pc3d::pretrain/sim_slidr.py", "pc3d::pretrain/sim_slidr"])
@pytest.mark.parametrize("form", ["py", "yaml", "json"])
def test_a_config_of_ones_own_builds_on_a_shipped_one(base: str, form: str, tmp_path: Path) -> None:
    texts = {
        "py": f'_base_ = "{base}"\nschedule = dict(iterations=7)\n',
        "yaml": f"_base_: {base}\nschedule:\n  iterations: 7\n",
        "json": json.dumps({"_base_": [base], "schedule": {"iterations": 7}}),
    }
    path = tmp_path / f"mine.{form}"
    path.write_text(texts[form])
    theirs = plain(load_config(REPOSITORY / "configs/pretrain/sim_slidr.py", "pretrain"))
    theirs["schedule"]["iterations"] = 7
    assert plain(load_config(path, "pretrain")) == theirs


def test_an_error_in_such_a_base_names_its_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text('_base_ = "pc3d::pretrain/sim_slidr.py"\nimage = dict(levels=(8, 17))\n')
    with pytest.raises(ValueError, match=r"mine\.py, line 2"):
        load_config(path, "pretrain")
    path.write_text('_base_ = "pc3d::pretrain/sim_sldr.py"\n')
    with pytest.raises(DataError, match=r"no file; it is the `_base_` of .*mine\.py"):
        load_config(path, "pretrain")
    path.write_text('_base_ = "mmdet::x.py"\n')
    with pytest.raises(DataError, match=r"'mmdet::x\.py'[\s\S]*pc3d::pretrain/sim_slidr\.py"):
        load_config(path, "pretrain")


def test_shipped_lists_are_named_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tokens = {"data.tokens": "pc3d::splits/sim_bench_5_percent.txt", "data.fraction": None}
    config = load_config(config_file("sim_5_percent"), "finetune", tokens)
    assert Path(config.data.tokens) == REPOSITORY / "configs/splits/sim_bench_5_percent.txt"


def test_every_shipped_config_is_listed_with_what_it_needs(
    pc3d: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    pc3d("configs")
    text = capsys.readouterr().out
    files = {f"{p.parent.name}/{p.stem}" for p in (REPOSITORY / "configs").glob("[fp]*/*.py")}
    assert set(re.findall(r"^((?:pretrain|finetune)/\w+) ", text, re.MULTILINE)) == files
    assert set(shipped_configs()) == files
    lines = {line.split()[0]: line for line in text.splitlines() if "/" in line.split("  ")[0]}
    assert re.search(
        r"1\.19 M weights +0\.35 s +LiDAR, images, regions: superpixels$", lines["pretrain/sim_slidr"]
    )
    assert "simulator's labels" in lines["pretrain/sim_slidr_oracle"]
    assert lines["finetune/sim_detection_camera"].endswith("images, boxes")
    pc3d("configs", "list", "superflowpp")
    assert "sim_superflowpp" in (few := capsys.readouterr().out)
    assert "slidr" not in few.split("\n\n")[0]


def test_regions_are_those_that_the_documentation_says() -> None:
    """The table of docs/methods.md, written by hand, and what the objectives ask for."""
    rows = re.findall(r"^\|.*\| (.*?)\| (.*?) \|$", METHODS.read_text(), re.MULTILINE)
    told = 0
    for configs, kinds in rows:
        for name in re.findall(r"`\*_(\w+)`", configs):
            wanted = set(re.findall(r"`([\w ]+)`", kinds.split(",")[0].split(";")[0])) or {""}
            facts = facts_of_file(shipped_folder() / f"pretrain/sim_{name}.py")
            assert " ".join(facts.regions) == wanted.pop(), name
            told += 1
    assert told >= 12


def test_step_times_are_those_of_the_results() -> None:
    """The file that ships, and the table in docs/results."""
    text = RESULTS.read_text()
    written: dict[str, dict[str, float]] = {}
    for name, stage, seconds in re.findall(
        r"^\| `(sim_\w+)`(?:, stage (\w+))?[^|]*\| ([\d.]+) s \|", text, re.MULTILINE
    ):
        written.setdefault(f"pretrain/{name}", {})[stage] = float(seconds)
    assert "measured in its old form" in text  # so not what the config costs now
    del written["pretrain/sim_proposalcontrast"]
    shipped = json.loads((shipped_folder() / "step_seconds.json").read_text())["seconds"]
    detection = re.search(r"as all training has them now \| ([\d.]+) s", text)
    assert shipped == written | {"finetune/sim_detection": {"": float(detection[1])}}


@pytest.mark.parametrize("name", ["pretrain/sim_calico", "finetune/sim_detection_both"])
def test_what_is_shown_is_the_config(
    name: str, pc3d: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pc3d("configs", "show", name, "--cfg-options", "optimizer.lr=1e-5")
    text = capsys.readouterr().out
    path = tmp_path / "shown.py"
    path.write_text(text)
    kind = name.split("/")[0]
    expected = load_config(REPOSITORY / f"configs/{name}.py", kind, {"optimizer.lr": 1e-5})
    assert plain(load_config(path, kind)) == plain(expected)
    assert "# needs: LiDAR, images, " in text
    assert "# a step: not measured" in text  # with settings of one's own


def test_parameters_are_those_of_the_encoder() -> None:
    from pc3d.models.lidar import build_lidar_encoder

    facts = facts_of_file(config_file("sim_slidr"))
    encoder = build_lidar_encoder(plain(load_config(config_file("sim_slidr"), "pretrain").lidar))
    assert facts.parameters == sum(p.numel() for p in encoder.parameters())


def test_costs_are_those_of_the_documentation() -> None:
    """The tables of docs/costs.md, the file that ships, and the configs that there are."""
    text = (REPOSITORY / "docs/costs.md").read_text()
    for name, lines in tables().items():
        assert "\n".join(lines) in text, f"{name}: python -m pc3d.engine.costs.table"
    _, costs = read_costs()
    assert costs.keys() <= shipped_configs().keys()
    assert len(costs) > 0.8 * len(shipped_configs())
    for name, stages in costs.items():
        parts = next(iter(stages.values())).parts
        lidar = parts["LiDAR encoder"].parameters if "LiDAR encoder" in parts else None
        assert lidar == facts_of_file(shipped_configs()[name]).parameters, name


def test_a_cost_is_shown_and_counted(
    pc3d: Callable[..., None], tiny_index: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pc3d("configs", "show", "sim_fac")
    text = capsys.readouterr().out
    assert re.search(r"# parameters: .*LiDAR encoder 1\.19 M.*momentum copy 1\.19 M \(no gradient\)", text)
    assert re.search(r"# FLOPs of a step of 2 samples: 0\.\d+ T", text)
    small = [f"data.index={tiny_index}", "data.fraction=100", "lidar.voxel_size=(1.0,1.0,1.0)"]
    options = ["--cfg-options", *small, "schedule.iterations=900"]
    hours = ["--samples-per-second", "2", "--gpus", "4"]
    pc3d("configs", "cost", "sim_5_percent", *hours, "--into", tmp_path / "costs.json", *options)
    text = capsys.readouterr().out
    assert "schedule: 7,200 samples" in text
    assert "0.25 hours, 1 GPU-hours" in text
    assert read_costs(tmp_path / "costs.json")[1].keys() == {"finetune/sim_5_percent"}
    with pytest.raises(ValueError, match=r"--gpus 0 .*expected at least 1"):
        pc3d("configs", "cost", "sim_5_percent", "--samples-per-second", "2", "--gpus", "0", *options)
    with pytest.raises(ValueError, match="needs the name of a config"):
        pc3d("configs", "cost")
