"""Settings: what each may be, how it is given as text, where a wrong one stands."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from engine_configs import CONFIGS, finetune_config
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.batch import Needs
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.splits import label_fraction
from pc3d.engine.command_line import training_parser
from pc3d.engine.config import faults_of, load_config
from pc3d.engine.data import build_dataset
from pc3d.engine.runs.settings import run_contract
from pc3d.engine.settings.expected import fits, options
from pc3d.engine.settings.files import read_files
from pc3d.engine.settings.options import read

SHIPPED = sorted(path for path in CONFIGS.glob("*/*.py") if path.parent.name != "_base_")
PRC = CONFIGS / "pretrain/sim_prc.py"
CALICO = CONFIGS / "pretrain/sim_calico.py"
DETECTION = CONFIGS / "finetune/sim_detection.py"
SLIDR = CONFIGS / "pretrain/sim_slidr.py"
TRANSFUSION = CONFIGS / "finetune/sim_detection_transfusion.py"
BOTH = CONFIGS / "finetune/sim_detection_both.py"
MAP = CONFIGS / "finetune/sim_map_5_percent.py"
SEGMENTATION = CONFIGS / "finetune/sim_5_percent.py"


def given_options(*arguments: str) -> dict[str, Any]:
    return training_parser("", "").parse_args(["config", "--cfg-options", *arguments]).cfg_options


def load(path: Path, *arguments: str) -> Any:
    return load_config(path, path.parent.name, given_options(*arguments))


def message(path: Path, *arguments: str) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        load(path, *arguments)
    return str(error.value)


@cache
def shipped(path: Path) -> dict[str, Any]:
    return read_files(path)[0]


def keys(section: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key in and below a section, through lists of sections."""
    items = section.items() if isinstance(section, dict) else enumerate(section)
    for key, value in items:
        if isinstance(section, dict):
            yield (*path, key)
        if isinstance(value, dict | list | tuple):
            yield from keys(value, (*path, key))


VALUES = [
    "abc",
    "",
    None,
    True,
    -1,
    0,
    2.5,
    math.nan,
    math.inf,
    10**400,
    "1e-3",
    [],
    [1],
    ["a"],
    {},
    {"x": 1},
]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_whatever_is_done_to_a_key_is_accepted_or_named(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(SHIPPED))
    config, kind = copy.deepcopy(shipped(path)), path.parent.name
    *above, key = data.draw(st.sampled_from(list(keys(config))))
    what = data.draw(st.sampled_from(["dropped", "misspelt", "retyped"]))
    section = config
    for part in above:
        section = section[part]
    value = section.pop(key)
    if what == "misspelt":
        section[f"{key}q"] = value
    elif what == "retyped":
        section[key] = data.draw(st.sampled_from(VALUES))
    faults = list(faults_of(config, kind))
    free = (
        above in (["objectives"], ["data", "paste", "counts"])
        or "heads" in above
        or above[2:] == ["objectives"]
    )
    said = "\n".join(f"{fault.key} {fault.text}" for fault in faults)
    if what == "misspelt" and not free:
        assert f"{key}q" in said or f"{key} is missing" in said
    if faults and what != "misspelt" and key not in ("task", "stages"):
        assert any(str(part) in said for part in (*above[-1:], key))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_ships_has_no_fault(path: Path) -> None:
    assert list(faults_of(shipped(path), path.parent.name)) == []


@pytest.mark.parametrize(
    ("path", "argument", "said"),
    [
        (PRC, "schedule.iteration=3", "did you mean `schedule.iterations`"),
        (PRC, "schedule.log_every=3", "did you mean `runtime.log_every`"),
        (PRC, "iterations=3", "is no section; did you mean `schedule.iterations`"),
        (PRC, "optimizer.lr=abc", "'abc', expected a number > 0"),
        (PRC, "optimizer.lr=nan", "nan, expected a number > 0"),
        (PRC, "optimizer.lr=0", "0, expected a number > 0"),
        (PRC, "schedule.iterations=true", "True, expected a whole number >= 1"),
        (PRC, "schedule.warmup=1", "from 0 to below 1"),
        (PRC, "schedule.kind=cosin", "expected one of 'constant', 'cosine', 'one_cycle'"),
        (PRC, "runtime.precision=fp16", "expected one of 'float32', 'bfloat16'"),
        (PRC, "lidar.voxel_size=0.2", "0.2, expected 3 numbers > 0, or None"),
        (PRC, "lidar.voxel_size=0.2,0.2", "expected 3 numbers > 0"),
        (PRC, "lidar.depth=19", "19, expected one of 18, 34, 50, 101"),
        (PRC, "lidar.in_channels=5", "reads column 4 of the points, which have 4"),
        (PRC, "lidar.grid.cell=-1", "empty grid"),
        (PRC, "data.image_size=224", "224, expected 2 whole numbers >= 1"),
        (PRC, "data.augmentation.rotation=1,0", "expected 2 numbers (low, high)"),
        (PRC, "data.superpixel_params.widht=3", "did you mean `data.superpixel_params.width`"),
        (PRC, "data.batch_size=none", "None, expected a whole number >= 1"),
        (PRC, "seed=-1", "expected a whole number from 0"),
        (PRC, "objectives.prc.temperature=0", "expected a number > 0"),
        (PRC, "objectives.rad.type=RAD", "needs images: set `image` too"),
        (PRC, "image.type=EfficientNetLite", "expected one of 'EfficientNetLite0', 'FPN'"),
        (PRC, "frozen=image", "names image, which the config does not have"),
        (PRC, "schedule.iterations.x=3", "`schedule.iterations` is 300, no section"),
        (PRC, "objectives.prc.weight=0", "`objectives` has none with a `weight` above 0"),
        (PRC, "init.stage=a", "`init.stage` names a stage of this config, which has none"),
        (CALICO, "init.stage=prc", "`init.stage` is shared by all stages"),
        (CALICO, "stages.1.init.run=/a", "`stages.1.init.run` and `init.stage` are both set"),
        (CALICO, "stages.0.nme=a", "`stages.0.nme` is no setting of a stage; did you mean `stages.0.name`?"),
        (
            SLIDR,
            "data.image_size=1,1",
            "`objectives.slidr.pixel_stride` is 4, more than a side of the images",
        ),
        (PRC, "lidar.voxel_size=1e-9,1e-9,1e-9", "`lidar.voxel_size` cannot be used"),
        (PRC, "lidar.voxel_size=1e9,1e9,1e9", "a grid of 1 x 1 x 1 voxels"),
        (PRC, "lidar.voxel_size=1e-320,1,1", "at most 7.2e+16 in all"),
        (PRC, "lidar.grid.cell=1e-6", "a grid of 108000000 x 108000000 cells"),
        (CALICO, "lidar.stride=1000000000", "voxels (x, y, z"),
        (PRC, "lidar.widths=8,8", "`lidar.widths` cannot be used: widths needs 8 numbers"),
        (PRC, "lidar.column_scales=1,1", "`lidar.column_scales` cannot be used"),
        (PRC, "lidar.column_scales=0,0,0,0", "expected a list of numbers other than 0"),
        (PRC, "data.bad_samples=1", "from 0 to below 1"),
        (PRC, "data.features=intensty", "of 'intensity', 'ring',"),
        (PRC, "data.features=intensity,intensity", "each once"),
        (PRC, "data.regions=none", "`data.regions` is missing: the objectives read regions"),
        (PRC, "data.pairing.min_depth=-1", "`data.pairing.min_depth` is -1, expected a number > 0"),
        (PRC, "data.augmentation.scale=(-1,1)", "expected 2 numbers (low, high) above 0"),
        (PRC, "init.heads=1", "`init.heads` is 1, expected a dict of texts by name"),
        (PRC, "objectives.prc.gather=true", "`objectives.prc.gather` cannot be used"),
        (TRANSFUSION, "head.heads=7", "`head.heads` cannot be used: heads 7 must divide channels"),
        (BOTH, "camera.depth=5,1,0.5", "`camera.depth` cannot be used"),
        (BOTH, "camera.grid.cell=1.6", "maps lie on different grids"),
        (BOTH, "camera=none", "`image` is read by the task detection through `camera`"),
        (BOTH, "image.backbone.levels=3", "each one of 4, 8, 16, 32"),
        (MAP, "head.head=mlp", "is no setting of MapHead; known: gamma"),
        (PRC, "stages.0.name=a", "each stage has its own objectives"),
        (CALICO, "stages.2.frozen=lidar", "is a list of 2"),
        (CALICO, "stages.0.objectives.prc.dimm=3", "did you mean `stages.0.objectives.prc.dim`"),
        (CALICO, "stages.1.init.stage=prk", "expected a stage before it"),
        (CALICO, "image=none", "lifts the features of images"),
        (DETECTION, "head.numclasses=3", "is no setting of CenterHead"),
        (DETECTION, "head.decoding.nms=round", "nms 'round' is unknown"),
        (DETECTION, "data.paste.counts.car=2", "`data.paste.database` is missing"),
        (DETECTION, "lidar=none", "reads `lidar`, `image` and `camera`, or both"),
        (SEGMENTATION, "head.numclasses=3", "did you mean `head.num_classes`"),
        (SEGMENTATION, "init.run=/run", "init.checkpoint=RUN/backbone.safetensors"),
        (SEGMENTATION, "data.tokens=", "expected a path"),
        (SEGMENTATION, "data.fraction_rule=nestd", "expected one of 'auto', 'scenes', 'last_scenes'"),
        (SEGMENTATION, "data.fraction_draw=-1", "`data.fraction_draw` is -1, expected a whole number >= 0"),
        (SEGMENTATION, "data.fraction_draw=2", "is 2: only `fraction_rule='nested'` has draws"),
        (PRC, "data.fraction_rule=nested", "is read with `fraction`: set that too"),
    ],
)
def test_a_wrong_setting_is_named(path: Path, argument: str, said: str) -> None:
    assert said in message(path, argument)


def test_all_faults_are_in_one_message_with_their_places(tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text(
        f'_base_ = "{PRC}"\nschedule = dict(\n    warmap=0.1,\n)\noptimizer = dict(lr="2e-3")\n'
    )
    lines = message_of(config, {"seed": "x"}).splitlines()
    assert lines[0] == f"{config} has 3 wrong settings:"
    assert sorted(lines[1:]) == [
        f"  `optimizer.lr` is '2e-3', expected a number > 0; it is a text: write 2.0e-03 or 0.002 "
        f"({config}, line 5)",
        f"  `schedule.warmap` is no setting; did you mean `schedule.warmup`? ({config}, line 3)",
        "  `seed` is 'x', expected a whole number from 0 to 4294967295 (an override)",
    ]


def message_of(config: Path, overrides: dict[str, Any] | None = None, kind: str = "pretrain") -> str:
    with pytest.raises(ValueError, match=r".") as error:
        load_config(config, kind, overrides)
    return str(error.value)


def test_places_in_yaml_and_values_of_numpy(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"_base_: {PRC}\noptimizer:\n  lr: 1e-3\n")
    assert f"write 1.0e-03 or 0.001 ({tmp_path}/mine.yaml, line 3)" in message_of(tmp_path / "mine.yaml")
    optimizer = "dict(lr=np.float64(0.1), betas=np.array([0.9, 0.99]))"
    (tmp_path / "mine.py").write_text(f'import numpy as np\n_base_ = "{PRC}"\noptimizer = {optimizer}\n')
    found = load_config(tmp_path / "mine.py", "pretrain").optimizer
    assert (type(found.lr), found.lr, found.betas) == (float, 0.1, [0.9, 0.99])


def test_a_text_is_no_list_of_letters() -> None:
    text = message_of(PRC, {"data.camera_names": "CAM_FRONT", "data.image_size": (224, 448)})
    assert "`data.camera_names` is 'CAM_FRONT', expected a list of texts" in text
    assert load(PRC, "data.camera_names=CAM_FRONT").data.camera_names == ["CAM_FRONT"]


def test_a_config_of_the_other_tool_says_so() -> None:
    assert "`task` is a section of `pc3d finetune`" in message_of(DETECTION, kind="pretrain")
    assert "`objectives` is a section of `pc3d pretrain`" in message_of(PRC, kind="finetune")


def test_of_two_settings_one_is_given(tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text(f'_base_ = "{SEGMENTATION}"\nschedule = dict(epochs=3)\ndata = dict(tokens="a.txt")\n')
    text = message_of(config, kind="finetune")
    assert "`schedule.iterations` and `schedule.epochs` are both set" in text
    assert "`data.tokens` and `data.fraction` are both set" in text
    # What is asked for on the command line takes the place of the other.
    loaded = load(SEGMENTATION, "schedule.epochs=3", "data.tokens=a.txt")
    assert "iterations" not in loaded.schedule
    assert "fraction" not in loaded.data
    assert "both set" in message(SEGMENTATION, "data.fraction=5", "data.tokens=a.txt")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("data.index=/data/my drives, 2024/index", "/data/my drives, 2024/index"),
        ("data.index=/dätä/東京/[x] (1)/it's=so", "/dätä/東京/[x] (1)/it's=so"),
        ('data.index="/data/a b"', "/data/a b"),
        ("data.index=2024", "2024"),
        ("data.index=1,2", "1,2"),
        ("data.split=none", None),
        ("data.root=None", None),
        ("data.fraction=1e-3", 1e-3),
        ("data.features=intensity,time", ["intensity", "time"]),
        ("data.features=[intensity, ring]", ["intensity", "ring"]),
        ("data.camera_names=('A', 'B')", ("A", "B")),
        ("data.image_size=[32,64]", [32, 64]),
        ("data.balance=true", True),
        ("data.augmentation.scale=(0.9,1.1)", (0.9, 1.1)),
        ("data.points={'max_points': 3}", {"max_points": 3}),
    ],
)
def test_a_value_is_read_as_its_setting_expects(argument: str, value: Any) -> None:
    section, _, key = argument.partition("=")[0].rpartition(".")
    found = load(PRC, argument)
    for part in section.split("."):
        found = found[part]
    assert found[key] == value
    assert type(found[key]) is type(value) or isinstance(value, dict)


def test_options_reach_into_lists_and_change_types() -> None:
    staged = load(
        CALICO,
        "stages.0.objectives.prc.dim=7",
        "image.backbone.levels=8,16",
        "stages.1.init.stage=none",
        "stages.1.init.run=/a, b",
    )
    assert staged.stages[0].objectives.prc.dim == 7
    assert staged.stages[1].init.run == "/a, b"
    assert load(DETECTION, "head.groups=[[car],[truck,bus]]").head.groups == [["car"], ["truck", "bus"]]
    assert load(
        PRC, "optimizer.nesterov=true", "optimizer.type=SGD", "optimizer.momentum=0.9"
    ).optimizer.nesterov


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a"], "a: expected KEY=VALUE"),
        (["=1"], "expected KEY=VALUE"),
        (["seed=1", "seed=2"], "gives seed twice"),
    ],
)
def test_options_that_are_none(arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        given_options(*arguments)


@pytest.mark.parametrize(
    ("value", "expected", "fit"),
    [
        (1, float, True),
        (True, float, False),
        (True, int, False),
        (1.0, int, False),
        (math.inf, float, False),
        ([1, 2], tuple[float, float], True),
        ([1, 2, 3], tuple[float, float], False),
        ("ab", tuple[str, ...], False),
        (None, int | None, True),
        (1, Literal[True], False),
        ({"a": 1}, dict[str, int], True),
        ({"a": "b"}, dict[str, int], False),
        (" ", Path, False),
    ],
)
def test_types_are_strict_and_kind(value: Any, expected: Any, fit: bool) -> None:
    assert any(fits(value, option) for option in options(expected)) == fit


@given(
    st.text(), st.sampled_from([int, float, str, Path, bool, tuple[int, int], tuple[str, ...], int | None])
)
def test_any_text_can_be_read(text: str, expected: Any) -> None:
    value = read(text, expected)
    if expected in (str, Path) and text[:1] not in ("'", '"') and not text.isidentifier():
        assert isinstance(value, str)


BROKEN: dict[str, tuple[bytes, str]] = {
    "syntax.py": (b"seed = 0\ndata = dict(\n", r"no Python[\s\S]*syntax\.py, line 2"),
    "name.py": (b"seed = 0\nlidar = dict(depth=DEPTH)\n", r"NameError: name 'DEPTH'[\s\S]*name\.py, line 2"),
    "exit.py": (b"import sys\nsys.exit(3)\n", r"SystemExit[\s\S]*exit\.py, line 2"),
    "base.py": (b'_base_ = "no.py"\n', r"is no file; it is the `_base_` of [\s\S]*base\.py"),
    "own.py": (b'_base_ = "own.py"\n', r"its own base"),
    "number.py": (b"_base_ = 3\n", r"`_base_` is 3"),
    "latin.py": ("seed = 0\n# Größe\n".encode("latin-1"), r"no UTF-8 text[\s\S]*latin\.py, line 2"),
    "empty.py": (b"\n", r"is empty"),
    "binary.py": (bytes(range(32)), r"is no text"),
    "config.txt": (b"seed = 0\n", r"a config ends in \.py"),
    "list.yaml": (b"- 1\n", r"has no sections"),
    "open.json": (b'{"seed": 0', r"cannot be read: Expecting ',' delimiter: line 1"),
    "tag.yaml": (b"seed: !!python/name:os.system\n", r"no plain YAML[\s\S]*a \.py config"),
    "twice.yaml": (b"seed: 1\nseed: 2\n", r"seed is there twice[\s\S]*line 1"),
    "twice.json": (b'{"seed": 1, "seed": 2}', r"seed is there twice"),
    "keys.yaml": (b"1: 2\n", r"has no sections"),
    "import.py": (
        b"seed = 0\nimport not_a_module\n",
        r"No module named 'not_a_module'[\s\S]*import\.py, line 2",
    ),
    "reserved.py": (b"filename = 3\n", r"filename is reserved"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_config_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    content, said = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        load_config(tmp_path / name, "pretrain")


def test_bases_in_a_circle_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('_base_ = "b.py"\n')
    (tmp_path / "b.py").write_text('_base_ = ["a.py"]\n')
    with pytest.raises(DataError, match="its own base"):
        load_config(tmp_path / "a.py", "pretrain")
    with pytest.raises(DataError, match="is no file"):
        load_config(tmp_path, "pretrain")


def test_a_delete_that_replaces_nothing_is_no_setting(tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text(
        f'_base_ = "{PRC}"\nruntime = dict(_delete_=True, log_every=3)\n'
        'image = dict(_delete_=True, type="EfficientNetLite0")\n'
    )
    loaded = load_config(config, "pretrain")
    assert dict(loaded.runtime) == {"log_every": 3}
    assert dict(loaded.image) == {"type": "EfficientNetLite0"}


def test_what_constructors_refuse_is_in_the_one_message() -> None:
    wrong = {"lidar.widths": (8, 8), "objectives.prc.gather": True, "data.bad_samples": 2}
    text = message_of(PRC, wrong)
    assert all(f"`{key}` " in text for key in wrong)


@pytest.mark.parametrize(
    ("path", "terms"),
    [
        (CONFIGS / "pretrain/sim_fac.py", "objectives: geo fea"),
        (CONFIGS / "pretrain/sim_superflow.py", "objectives: spatial d2s temporal cross"),
        (TRANSFUSION, "head: heatmap_weight class_weight box_weight"),
    ],
    ids=["FAC", "SuperFlow", "TransFusion"],
)
def test_a_loss_has_a_term_with_a_weight(path: Path, terms: str) -> None:
    section, _, names = terms.partition(": ")
    if not section.startswith("head"):
        section = f"objectives.{next(iter(shipped(path)['objectives']))}"
    none = {f"{section}.{name}": 0 for name in names.split()}
    assert "are all 0: nothing would be learned" in message_of(path, none, path.parent.name)
    load_config(path, path.parent.name, dict(list(none.items())[1:]) | {f"{section}.{names.split()[0]}": 1})


def test_what_is_missing_stands_where_its_section_was_replaced(tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text(f'_base_ = "{PRC}"\n\noptimizer = dict(_delete_=True)\n')
    assert f"`optimizer.lr` is missing, expected a number > 0 ({config}, line 3)" in message_of(config)


def test_a_config_is_checked_in_no_time() -> None:
    config = shipped(CALICO)
    list(faults_of(config, "pretrain"))
    start = time.process_time()
    list(faults_of(config, "pretrain"))
    assert time.process_time() - start < 1.0  # it builds no network and opens no data


def test_less_than_one_frame_is_said(tiny_index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = SweepIndex.open(tiny_index)
    split = next(name for name in index.splits if len(index.key_rows(name)))
    frames = len(index.key_rows(split))
    config = {"index": tiny_index, "split": split}
    assert len(build_dataset({**config, "fraction": 1e-3}, Needs())) >= 1
    assert f"0.001 % of the {frames} frames of {split} is less than one" in capsys.readouterr().out
    build_dataset({**config, "fraction": 100}, Needs())
    assert not capsys.readouterr().out


def test_nested_fractions_of_a_config(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    contracts = set()
    for percent, draw in ((34, 0), (34, 1), (67, 1)):
        options = {"data.fraction": percent, "data.fraction_rule": "nested", "data.fraction_draw": draw}
        config = finetune_config(tiny_index, 1, **options)
        data = build_dataset(config.data.to_dict(), Needs(labels=True))
        tokens = [index[int(row)].token for row in data.parts[0].rows]
        assert tokens == label_fraction(index, "sim_train", percent, "nested", draw)
        contract = run_contract(config, data, 1, 1)
        assert (contract["data.fraction_rule"], contract.get("data.fraction_draw", 0)) == ("nested", draw)
        contracts.add(str(contract))
    assert len(contracts) == 3
