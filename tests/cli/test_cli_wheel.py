"""The wheel in a folder of its own: the whole way on `tiny`, with nothing of the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_settings import NARROW, QUICK

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ["pc3d", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE"]
Installed = Callable[..., str]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is built of: a build leaves its folders there."""
    sources = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        path = REPOSITORY / name
        ignore = shutil.ignore_patterns("__pycache__")
        if path.is_dir():
            shutil.copytree(path, sources / name, ignore=ignore)
        else:
            shutil.copy(path, sources / name)
    return sources


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = ["wheel", str(sources), "--no-deps", "--no-build-isolation", "-w", str(out)]
    pip(*command)
    return next(out.glob("pc3d-*.whl"))


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def keep_compiled(place: Path) -> None:
    """Take over the kernels that numba compiled for the checkout: that takes a minute.

    It looks at the time and the size of a source file, and at the processor.
    """
    for source in (REPOSITORY / "pc3d").rglob("*.py"):
        there = place / source.relative_to(REPOSITORY)
        if there.is_file() and there.read_bytes() == source.read_bytes():
            shutil.copystat(source, there)
            there.parent.joinpath("__pycache__").mkdir(exist_ok=True)
            for kernel in source.parent.glob(f"__pycache__/{source.stem}.*.nb[ci]"):
                shutil.copy(kernel, there.parent / "__pycache__")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory, tiny_regions: Path) -> Installed:
    """The command `pc3d` of the wheel, started in an empty folder; returns what it prints.

    What pc3d stands on comes from the packages of this Python, pc3d itself from the wheel alone: a Python
    without `site` knows no editable install of the checkout.
    """
    place, here = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("elsewhere")
    pip("install", str(wheel), "--no-deps", "--target", str(place))
    keep_compiled(place)  # which `tiny_regions` has made
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), *packages])}

    def run(*arguments: object, code: str | None = None) -> str:
        program = ["-c", code] if code else [str(place / "bin" / "pc3d")]
        done = subprocess.run(
            [sys.executable, "-S", *program, *map(str, arguments)],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"pc3d {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run.place, run.here = place, here  # type: ignore[attr-defined]
    return run


def test_only_the_wheel_is_imported(installed: Installed) -> None:
    code = (
        "import json, sys, importlib.resources as r, pc3d, pc3d.cli, pc3d.configs\n"
        "from pc3d.engine.settings.shipped import config_file\n"
        "print(json.dumps([pc3d.__file__, pc3d.cli.__file__, str(config_file('sim_slidr')), "
        "str(r.files('pc3d.configs') / 'pretrain'), sys.path]))"
    )
    *files, path = json.loads(installed(code=code))
    place = str(installed.place)  # type: ignore[attr-defined]
    assert all(Path(file).is_relative_to(place) and Path(file).exists() for file in files), files
    assert not [entry for entry in path if entry and Path(entry).resolve() == REPOSITORY]


def test_it_holds_every_config_and_every_file_that_is_no_code(installed: Installed, sources: Path) -> None:
    place = installed.place / "pc3d"  # type: ignore[attr-defined]
    for root, there in ((sources / "configs", place / "configs"), (sources / "pc3d", place)):
        files = [path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert len(files) > 50
        lacking = [path for path in files if not (there / path.relative_to(root)).is_file()]
        assert not lacking


ALL_OF_THEM = """\
import json, sys
from pc3d.cli import dispatch
if __name__ == "__main__":
    for command in json.loads(sys.argv[1]):
        dispatch(command)
"""
"""A process for several commands: to start one takes longer than what they do here."""


def test_the_whole_way_on_tiny(installed: Installed, tiny_nuscenes: Path) -> None:
    options = ["--cfg-options", *QUICK, *NARROW]
    data = ["data.index=index", "data.regions=regions", "objectives.prc.num_region_points=64"]
    regions = ["--kinds", "clusters", "--split", "sim_train", "--workers", "1"]
    probe = [*options, "data.index=index", "init.checkpoint=run/backbone.safetensors"]
    ways = [
        ["index", str(tiny_nuscenes), "--out", "index"],
        ["regions", "index", "--out", "regions", *regions],
        ["pretrain", "sim_prc", "--work-dir", "run", *options, *data],
        ["finetune", "sim_linear_probe", "--work-dir", "probe", *probe],
    ]
    said = installed(json.dumps(ways), code=ALL_OF_THEM)
    for text in ("6 sweeps computed", "run/backbone.safetensors", "probe/segmenter"):
        assert text in said
    text = installed("evaluate", "probe/segmenter.safetensors", "--pictures", "0")
    assert "mIoU" in text
    metrics = json.loads((installed.here / "probe/evaluation/metrics.json").read_text())  # type: ignore[attr-defined]
    assert 0 <= metrics["miou"] <= 1


@pytest.mark.long
def test_it_simulates(installed: Installed) -> None:
    installed("simulate", "sim", "--size", "tiny", "--workers", "1")
    installed("index", "sim", "--out", "sim-index")
    metadata = json.loads((installed.here / "sim-index/metadata.json").read_text())  # type: ignore[attr-defined]
    assert set(metadata["key_frames"]) == {"sim_train", "sim_val"}
