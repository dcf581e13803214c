"""Installed by one user, run by another: nothing that pc3d lies in can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pc3d
from pc3d.storage import compiled

KERNELS = """
import numpy as np, torch
from pc3d.ops.nms import circle_nms
import pc3d.regions.clusters
import pc3d
assert pc3d.__file__.startswith({package!r}), pc3d.__file__
print(circle_nms(torch.tensor([[0.0, 0], [0.1, 0], [9, 9]]), torch.tensor([3.0, 2, 1]), 1.0).tolist())
"""


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """A copy of the package and an empty home, neither of which can be written, and a temporary folder."""
    shutil.copytree(
        Path(pc3d.__file__).parent, tmp_path / "lib" / "pc3d", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    folders = [tmp_path / "home", *(path for path in (tmp_path / "lib").rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield tmp_path
    for folder in folders:
        folder.chmod(0o755)


def as_a_user(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code with the package in `folder`; permissions bind it even where the tests run as root."""
    without: list[str] = []
    if os.getuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root ignores permissions, and setpriv is not there to give that right up")
        without = [setpriv, "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    environment = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    environment |= {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": str(folder / "lib"),
    }
    return subprocess.run(
        [*without, sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True
    )


def test_a_package_and_a_home_that_cannot_be_written(installed: Path) -> None:
    code = KERNELS.format(package=str(installed / "lib"))
    done = as_a_user(installed, code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0, 2]"
    kept = installed / "tmp" / f"pc3d-numba-{os.getuid()}"
    assert kept.stat().st_mode & 0o777 == 0o700
    assert list(kept.rglob("*.nbc"))


def test_no_folder_at_all(installed: Path) -> None:
    """Not even the private one: its name is taken by a folder that others may write."""
    taken = installed / "tmp" / f"pc3d-numba-{os.getuid()}"
    taken.mkdir()
    taken.chmod(0o777)
    done = as_a_user(installed, KERNELS.format(package=str(installed / "lib")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0, 2]"
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1
    assert not list(taken.iterdir())


def test_a_private_folder_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"pc3d-numba-{os.getuid()}"
    assert compiled.private_folder() == folder
    assert compiled.private_folder() == folder
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert compiled.private_folder() is None
    folder.unlink()
    folder.touch()
    assert compiled.private_folder() is None
    folder.unlink()
    other = os.getuid() + 1
    (tmp_path / f"pc3d-numba-{other}").mkdir(mode=0o700)
    monkeypatch.setattr(compiled.os, "getuid", lambda: other)
    assert compiled.private_folder() is None
