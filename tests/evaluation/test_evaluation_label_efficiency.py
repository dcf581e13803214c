"""The table: each cell once, resumable, summarised by hand-checked numbers, drawn."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pc3d.evaluation.label_efficiency import Cell, CellResult, plot, run_cells, summarise, to_markdown


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "prc.pth"
    path.write_bytes(b"weights")
    return path


def _cells(checkpoint: Path) -> list[Cell]:
    return [
        Cell(start, "lidarseg", fraction, seed, path, {"epochs": 3})
        for start, path in (("random", None), ("prc", checkpoint))
        for fraction in (0.01, 0.1, 1.0)
        for seed in (0, 1, 2)
    ]


def _run(cell: Cell) -> dict[str, Any]:
    value = 0.3 + 0.1 * math.log10(cell.fraction * 100) + 0.01 * cell.seed
    return {
        "miou": value + (0.05 + 0.02 * cell.seed) * (cell.start == "prc"),
        "iou": {"trailer": np.float32(math.nan)},
        "of": torch.arange(2),
    }


def test_each_cell_runs_once_and_a_study_resumes(checkpoint: Path, tmp_path: Path) -> None:
    calls: list[Cell] = []

    def interrupted(cell: Cell) -> dict[str, Any]:
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(cell)
        return _run(cell)

    cells, folder = _cells(checkpoint), tmp_path / "cells"
    with pytest.raises(KeyboardInterrupt):
        run_cells(cells, interrupted, folder)
    assert len(list(folder.iterdir())) == 4

    def recorded(cell: Cell) -> dict[str, Any]:
        calls.append(cell)
        return _run(cell)

    results = run_cells(cells + cells[:3], recorded, folder)
    assert calls == cells
    assert [result.cell for result in results] == cells + cells[:3]
    assert results == run_cells(cells + cells[:3], interrupted, folder)
    assert results[0].metrics == {"miou": _run(cells[0])["miou"], "iou": {"trailer": None}, "of": [0, 1]}
    assert all(path.suffix == ".json" for path in folder.iterdir())


def test_a_change_meets_no_old_result(checkpoint: Path, tmp_path: Path) -> None:
    cell = _cells(checkpoint)[-1]
    keys = {
        cell.key(),
        replace(cell, seed=7).key(),
        replace(cell, fraction=0.5).key(),
        replace(cell, task="probe").key(),
        replace(cell, config={"epochs": 4}).key(),
        replace(cell, start="fac").key(),
    }
    moved = tmp_path / "moved.pth"
    moved.write_bytes(checkpoint.read_bytes())
    assert replace(cell, checkpoint=moved).key() == cell.key()
    checkpoint.write_bytes(b"other weights")
    keys.add(cell.key())
    assert len(keys) == 7


def test_a_broken_result_is_named(checkpoint: Path, tmp_path: Path) -> None:
    cells = _cells(checkpoint)[:1]
    run_cells(cells, _run, tmp_path / "cells")
    path = next((tmp_path / "cells").iterdir())
    assert json.loads(path.read_text())["cell"] == cells[0].describe()
    path.write_text("{")
    with pytest.raises(ValueError, match=path.name):
        run_cells(cells, _run, tmp_path / "cells")


def test_summary(checkpoint: Path) -> None:
    rows = summarise(CellResult(cell, _run(cell)) for cell in _cells(checkpoint))
    assert [(row.start, row.fraction) for row in rows] == [
        (start, fraction) for fraction in (0.01, 0.1, 1.0) for start in ("random", "prc")
    ]
    prc = rows[3]
    assert prc.seeds == 3
    assert prc.mean == pytest.approx(statistics.fmean([0.45, 0.48, 0.51]))
    assert prc.deviation == pytest.approx(statistics.stdev([0.45, 0.48, 0.51]))
    assert (prc.gain, prc.gain_deviation) == pytest.approx((0.07, 0.02))
    assert math.isnan(rows[2].gain)


def test_gain_is_paired_by_seed(checkpoint: Path) -> None:
    cells = [
        cell for cell in _cells(checkpoint) if cell.fraction == 1 and (cell.start, cell.seed) != ("prc", 0)
    ]
    row = summarise(CellResult(cell, _run(cell)) for cell in cells)[1]
    assert row.gain == pytest.approx((0.07 + 0.09) / 2)
    one = summarise(CellResult(cell, _run(cell)) for cell in cells if cell.seed == 2)[1]
    assert one.gain == pytest.approx(0.09)
    assert math.isnan(one.deviation)
    assert math.isnan(one.gain_deviation)


def test_summary_refuses_what_is_no_comparison(checkpoint: Path) -> None:
    cells = _cells(checkpoint)
    results = [CellResult(cell, _run(cell)) for cell in cells]
    with pytest.raises(ValueError, match="configs differ"):
        summarise([*results[:-1], CellResult(replace(cells[-1], config={"epochs": 9}), _run(cells[-1]))])
    with pytest.raises(ValueError, match="share start"):
        summarise([*results, CellResult(replace(cells[-1], checkpoint=Path("b.pth")), {"miou": 1.0})])
    with pytest.raises(ValueError, match="'map'"):
        summarise(results, "map")
    assert repr(summarise(results + results[:2])) == repr(summarise(results))


def test_cell_refuses() -> None:
    with pytest.raises(ValueError, match="fraction"):
        Cell("random", "lidarseg", 5, 0)
    with pytest.raises(ValueError, match="random"):
        Cell("prc", "lidarseg", 0.5, 0)


def test_markdown(checkpoint: Path) -> None:
    results = [CellResult(cell, _run(cell)) for cell in _cells(checkpoint)][:-1]
    lines = to_markdown(summarise(results)).splitlines()
    assert lines[2] == "| start | 1 % | 10 % | 100 % |"
    assert lines[4] == "| random | 31.0 ± 1.0 | 41.0 ± 1.0 | 51.0 ± 1.0 |"
    assert lines[5] == "| prc | 38.0 ± 3.0 (+7.0 ± 2.0) | 48.0 ± 3.0 (+7.0 ± 2.0) | 56.5 ± 2.1 (+6.0 ± 1.4) |"
    assert "2 or 3 seeds" in lines[0]


def test_plot(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    plot(summarise(CellResult(cell, _run(cell)) for cell in _cells(checkpoint)), path)
    with Image.open(path) as picture:
        colours = picture.convert("RGB").getcolors(1 << 24)
    assert {(31, 119, 180), (115, 115, 115)} <= {colour for _, colour in colours}
