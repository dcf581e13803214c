"""The notebooks and the snippets of the documentation run."""

from __future__ import annotations

import json
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import MINK

import pc3d
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.weights import save_backbone

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.ipynb"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, whose modules are found as a notebook finds them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in ("my_objective", "my_reader"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks(path: Path, here: Path, tiny_nuscenes: Path, tiny_index: Path, tiny_regions: Path) -> None:
    (here / "data").mkdir()
    (here / "data/sim").symlink_to(tiny_nuscenes)
    for run in ("runs/features", "runs/own"):  # of drives that were indexed and cut before
        shutil.copytree(tiny_index, here / run / "index")
        shutil.copytree(tiny_regions, here / run / "regions")
    cells = json.loads(path.read_text())["cells"]
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
    if path.stem == "training_loop":
        assert names["losses"][-1] < names["losses"][0]
    elif path.stem == "own_objective":
        rows = [json.loads(line) for line in (here / "runs/own/metrics.jsonl").read_text().splitlines()]
        assert len(rows) == 2
        assert any("agreement" in key for key in rows[0])
        text = (here / "my_objective.py").read_text()
        assert len(text.strip().splitlines()) <= 40
    else:
        assert (len(names["index"]), float(names["points"][:, 3].max())) == (6, 1.0)


def test_the_snippets_of_the_page(here: Path) -> None:
    torch.manual_seed(0)
    save_backbone(
        build_lidar_encoder(MINK).eval(), here / "runs/a/backbone.safetensors", {"lidar": json.dumps(MINK)}
    )
    snippets = re.findall(r"(?s)```python\n(.*?)```", (DOCS / "python.md").read_text())
    assert len(snippets) == 3
    cloud = torch.rand(100, 4) * torch.tensor([40, 40, 4, 1.0]) - torch.tensor([20, 20, 3, 0.0])
    names: dict[str, Any] = {"points_a": cloud, "points_b": cloud[:60]}
    labels = torch.randint(0, 10, (160,))
    names["loader"] = [([cloud, cloud[:60]], [labels[:100], labels[100:]])] * 2
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="intensity")
        for snippet in snippets[:2]:
            exec(snippet, names)
    assert float(names["loss"]) > 0
    # The third one trains for long: each of its calls takes the arguments that it is given.
    import inspect

    for name, arguments in re.findall(r"pc3d\.(\w+)\((.*)\)", snippets[2]):
        words = [word.strip() for word in re.split(r",\s*(?![^\[]*\])", arguments)]
        given = [word.split("=")[0] for word in words if re.match(r"\w+=", word)]
        signature = inspect.signature(getattr(pc3d, name))
        signature.bind(*[None] * (len(words) - len(given)), **dict.fromkeys(given))
