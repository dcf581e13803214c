"""The command: its sub-commands, what they say of themselves, and what starting it costs."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pc3d.cli import COMMANDS, available, dispatch, parser_of
from pc3d.data.classes import ClassSet
from pc3d.data.index import SweepIndex

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = {
    path: re.findall(r'script\("([\w-]+)"\)', path.read_text())
    for folder in ("tools", "data_prep")
    for path in sorted((REPOSITORY / folder).glob("*.py"))
}
THIN = [(path, names[0]) for path, names in SCRIPTS.items() if names]
MINE = [
    "simulate",
    "calibration",
    "regions",
    "objects",
    "configs",
    "pretrain",
    "finetune",
    "evaluate",
    "probe",
    "pseudo-label",
    "visualize",
    "import",
    "replay",
    "doctor",
]


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=cwd, timeout=120
    )


def test_the_help_lists_every_command_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        dispatch(["--help"])
    assert end.value.code == 0
    listed = re.findall(r"^  ([\w-]+)  +(\S.*)$", capsys.readouterr().out, re.MULTILINE)
    assert [name for name, _ in listed] == available()
    assert set(MINE) <= set(available()) <= set(COMMANDS)
    assert all(text == import_module(f"pc3d.cli.{COMMANDS[name]}").HELP for name, text in listed)


def test_without_a_command_the_help_and_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        dispatch([])
    assert end.value.code == 2
    assert capsys.readouterr().out.startswith("usage: pc3d COMMAND")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("pretrian", "no command 'pretrian'; did you mean 'pretrain'?"),
        ("Regions", "did you mean 'regions'?"),
        ("xyz", "no command 'xyz'; known: simulate, "),
    ],
)
def test_a_command_that_is_not_there(typed: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        dispatch([typed, "--help"])


@pytest.mark.parametrize("name", available())
def test_each_command_says_how_it_is_used(name: str) -> None:
    module = import_module(f"pc3d.cli.{COMMANDS[name]}")
    text = parser_of(name, f"pc3d {name}").format_help()
    assert text.startswith(f"usage: pc3d {name} ")
    assert f"  pc3d {name}" in text.partition("\nexamples:\n")[2]
    assert re.fullmatch(r"\S[^\n]{5,70}", module.HELP)
    assert (module.__doc__ or "").strip()


@pytest.mark.parametrize("name", available())
def test_examples_are_command_lines_that_parse(name: str) -> None:
    """Each line of the examples that is a `pc3d` command is one that its parser takes."""
    module = import_module(f"pc3d.cli.{COMMANDS[name]}")
    text = module.EXAMPLES.replace("\\\n", " ")
    commands = re.findall(r"^ +pc3d ([\w-]+)(.*)$", text, re.MULTILINE)
    assert commands
    if hasattr(module, "extend"):
        pytest.skip("its arguments depend on the data set that its examples name")
    for command, arguments in commands:
        words = re.sub(r"(\s{2,}\S.*|#.*|\(.*\))$", "", re.sub(r"\s+--", " --", arguments)).split()
        words = words[: words.index("&&")] if "&&" in words else words
        parser_of(command, "pc3d").parse_args(words)


def test_nothing_heavy_is_imported_for_the_help() -> None:
    code = (
        "import sys; from pc3d.cli import dispatch\n"
        "try: dispatch(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'open3d', 'mmengine', 'pyarrow', 'rich'} & set(sys.modules)))"
    )
    assert run("-c", code).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", sorted(set(MINE) - {"regions", "visualize"}))
def test_no_torch_for_the_help_of_a_command(name: str) -> None:
    code = (
        "import sys; from pc3d.cli import parser_of\n"
        f"parser_of({name!r}, 'pc3d').format_help(); print('torch' in sys.modules)"
    )
    assert run("-c", code).stdout.strip() == "False"


def test_as_a_module_it_is_the_same_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # What lies in the working directory hides no package: python -m puts it first.
    for name in ("torch.py", "nuscenes.py", "numpy.py", "rich.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong module')\n")
    done = run("-m", "pc3d", "objects", "nothing", "--split", "a", "--out", "b", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    with pytest.raises(SystemExit):
        dispatch(["--help"])
    assert run("-m", "pc3d", "--help", cwd=tmp_path).stdout == capsys.readouterr().out
    from pc3d import __version__

    assert run("-m", "pc3d", "--version").stdout == f"pc3d {__version__}\n"


@pytest.mark.parametrize(("path", "name"), THIN, ids=lambda value: getattr(value, "stem", value))
def test_a_script_is_the_sub_command(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    assert end.value.code == 0
    own = capsys.readouterr().out
    expected = parser_of(name, path.name).format_help()
    assert own == expected
    assert own.startswith(f"usage: {path.name} ")


def test_every_command_of_ours_that_had_a_script_still_has_it() -> None:
    assert {name for _, name in THIN} >= set(MINE) - {"configs", "probe"}


def test_a_script_beside_one_called_nuscenes_finds_the_devkit() -> None:
    """data_prep/nuscenes.py would hide it: Python puts the folder of a script first."""
    code = (
        "import runpy, sys; sys.argv = ['data_prep/objects.py', '--help']; sys.path.insert(0, 'data_prep')\n"
        "try: runpy.run_path('data_prep/objects.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "import nuscenes; print(nuscenes.__path__)"
    )
    assert "site-packages" in run("-c", code, cwd=REPOSITORY).stdout.splitlines()[-1]


def test_labels_of_an_index_are_drawn_in_the_colours_of_its_classes(
    pc3d: Callable[..., None], tiny_index: Path, tmp_path: Path
) -> None:
    flat = ["--view", "flat", "--boxes", "--extent", "30"]
    pc3d("visualize", tiny_index, *flat, "--colour", "label", "--out", "labels.png")
    pixels = np.asarray(Image.open(tmp_path / "labels.png").convert("RGB")).reshape(-1, 3)
    metadata = SweepIndex.open(tiny_index).metadata
    classes = ClassSet.of(metadata)
    assert classes is not None
    road = classes.colours["driveable_surface"]
    assert (pixels == np.asarray(road)).all(axis=1).sum() > 100


def test_errors_are_one_line_and_an_exit_code(
    pc3d: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pc3d.cli import main

    monkeypatch.setattr(sys, "argv", ["pc3d", "regions", "no-index", "--out", "regions"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert re.match(r"error: there is no index\n  where: .*\n  remedy: ", capsys.readouterr().err)
