"""Faults of settings: said at the start, all in one message, before any data is opened."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import QUICK, REPOSITORY, Fault, Place, check

PRC = REPOSITORY / "configs/pretrain/sim_prc.py"
SEGMENTATION = REPOSITORY / "configs/finetune/sim_5_percent.py"
Command = Callable[[Place], list[str | Path]]


def run(place: Place, config: Path, *options: str, tool: str = "pretrain") -> list[str | Path]:
    """A quick run of a config; index and regions are there."""
    data = [f"data.index={place.index}", f"data.regions={place.regions}", "schedule.iterations=1"]
    every = {text.partition("=")[0]: text for text in (*QUICK, *data, *options)}
    return [f"tools/{tool}.py", config, "--work-dir", place.tmp / "run", "--cfg-options", *every.values()]


def option(*options: str) -> Command:
    """PRC with these options; no index is there, as none is opened."""
    return lambda place: run(place, PRC, "data.index=/not/there", *options)


def config(text: str | bytes, name: str = "mine.py", base: Path = PRC) -> Command:
    """A config of this text over another one."""

    def command(place: Place) -> list[str | Path]:
        path = place.tmp / name
        if isinstance(text, str):
            path.write_text(f'_base_ = "{base}"\n{text}', encoding="utf-8")
        else:
            path.write_bytes(text)
        return ["tools/pretrain.py", path, "--work-dir", place.tmp / "run"]

    return command


def at_start(name: str, says: list[str], command: Command) -> Fault:
    return Fault(name, "start", 2, says, command)


def segmentation(*options: str) -> Command:
    return lambda place: run(
        place, SEGMENTATION, "data.fraction=100", "data.regions=none", *options, tool="finetune"
    )


FAULTS = [
    at_start(
        "a setting that does not exist",
        [r"`schedule\.iteration` is no setting; did you mean `schedule\.iterations`\? \(--cfg-options\)"],
        option("schedule.iteration=3"),
    ),
    at_start(
        "a setting in another section",
        [r"`schedule\.log_every` is no setting; did you mean `runtime\.log_every`"],
        option("schedule.log_every=3"),
    ),
    at_start(
        "a setting of another type",
        [
            r"`lidar\.voxel_size` is 0\.2, expected 3 numbers > 0",
            r"`data\.image_size` is 224, expected 2 whole",
        ],
        option("lidar.voxel_size=0.2", "data.image_size=224"),
    ),
    at_start(
        "a setting out of its range",
        [r"`optimizer\.lr` is -0\.1, expected a number > 0", r"`data\.augmentation\.flip` is 2"],
        option("optimizer.lr=-0.1", "data.augmentation.flip=2"),
    ),
    at_start("a setting that is not finite", [r"`optimizer\.lr` is nan"], option("optimizer.lr=nan")),
    at_start(
        "a text where a list is expected",
        [r"`data\.camera_names` is 'CAM_FRONT', expected a list of texts, or None \(\S+mine\.py, line 2\)"],
        config('data = dict(camera_names="CAM_FRONT")'),
    ),
    at_start(
        "several wrong settings",
        [
            r"mine\.py has 3 wrong settings",
            r"`seed` is 'abc'[\s\S]*`optimizer\.lrr`[\s\S]*`runtime\.log_evry`",
        ],
        config('optimizer = dict(lrr=1)\nruntime = dict(log_evry=1)\nseed = "abc"\n'),
    ),
    at_start(
        "an unknown encoder, objective or optimizer",
        [r"`lidar\.type` is 'MinkUnet', expected one of 'MinkUNet'"],
        option("lidar.type=MinkUnet"),
    ),
    at_start(
        "two settings that exclude each other",
        [r"`schedule\.iterations` and `schedule\.epochs` are both set"],
        config("schedule = dict(epochs=3)"),
    ),
    at_start(
        "an objective without what it reads",
        [r"`objectives\.ppkt` \(PPKT\) needs images: set `image` too"],
        option("objectives.ppkt.type=PPKT"),
    ),
    at_start(
        "more input columns than the points have",
        [r"`lidar\.in_channels` reads column 4 of the points, which have 4: x, y, z and `data\.features`"],
        option("lidar.in_channels=5"),
    ),
    at_start(
        "a config of the other tool",
        [r"`head` is a section of `pc3d finetune`"],
        lambda place: run(place, SEGMENTATION),
    ),
    at_start("an option without `=`", [r"seed: expected KEY=VALUE"], option("seed")),
    at_start(
        "an option that is given twice",
        [r"gives seed twice: '1' and '2'"],
        lambda place: [*option()(place), "seed=1", "seed=2"],
    ),
    at_start(
        "a config with a syntax error",
        [r"the config is no Python[\s\S]*mine\.py, line 3"],
        config("seed = 1\ndata = dict(\n"),
    ),
    at_start("a config whose base is missing", [r"is no file[\s\S]*no\.py"], config(b'_base_ = "no.py"\n')),
    at_start("a config that is its own base", [r"is its own base"], config(b'_base_ = "mine.py"\n')),
    at_start("a config that is empty", [r"the config is empty"], config(b"")),
    at_start("a config that is no text", [r"is no UTF-8 text"], config(b"\xff\xfe\x00seed")),
    at_start(
        "a split that the index does not have",
        [r"no key frame is in split 'sim_trian'; did you mean 'sim_train'"],
        lambda place: run(place, PRC, "data.split=sim_trian"),
    ),
    at_start(
        "another number of classes than the index has",
        [r"`head\.num_classes` is 17, but the labels of the data have 16 classes", r"it follows the index"],
        segmentation("head.num_classes=17"),
    ),
]


def in_an_odd_folder(place: Place) -> list[str | Path]:
    folder = place.tmp / "my drives, 2024 [a=b]" / "Größe 東京's"
    shutil.copytree(place.index, folder / "index")
    shutil.copytree(place.regions, folder / "regions")
    return run(place, PRC, f"data.index={folder}/index", f"data.regions={folder}/regions")


FAULTS.append(
    Fault(
        "a path with spaces, commas, brackets and letters of all kinds",
        "start",
        0,
        ["backbone: "],
        in_an_odd_folder,
    )
)


@pytest.mark.parametrize("fault", FAULTS, ids=[f.name for f in FAULTS])
def test_fault(fault: Fault, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    check(fault, place, capfd)
    assert fault.code == 0 or not (place.tmp / "run").exists()
