"""A budget for bad samples: the same run whatever the number of workers, each named once, ended above it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_configs import pretrain_config, read_metrics
from run_trials import before_step, ended

from pc3d.data.index import SweepIndex
from pc3d.engine.bad_samples import BAD_SAMPLES, Budget, TolerantDataset, bad_sample_budget
from pc3d.engine.config import plain
from pc3d.engine.data import build_dataset
from pc3d.engine.pretrainer import objective_needs, pretrain
from pc3d.regions.build import open_cache

STEPS = 9
SMALL = {
    "objectives.prc.num_region_points": 64,
    "objectives.prc.num_background_points": 64,
    "objectives.superpixel.pixel_stride": 16,
    "data.split": None,
    "data.camera_names": ("CAM_FRONT",),
    "data.cameras": 1,
    "runtime.gradients_every": 0,
}


def cut(path: Path) -> bytes:
    return path.read_bytes()[:-7]


def nan(path: Path) -> bytes:
    points = np.frombuffer(path.read_bytes(), "<f4").reshape(-1, 5).copy()
    points[3, 1] = np.nan
    return points.tobytes()


@pytest.fixture(scope="module")
def spoilt(
    tiny_nuscenes: Path, tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, list[str]]:
    """Root and regions of a copy of the data set, and the tokens of its five key frames with a bad file."""
    folder = tmp_path_factory.mktemp("spoilt")
    root, regions = folder / "data", folder / "regions"
    shutil.copytree(tiny_nuscenes, root)
    shutil.copytree(tiny_regions, regions)
    index = SweepIndex.open(tiny_index, root=root)
    sweeps = [index[int(row)] for row in index.key_rows(None)[1:6]]
    image = next(camera.path for camera in sweeps[3].cameras if camera.name == "CAM_FRONT")
    cache = open_cache(regions, "clusters", None)
    sweeps[0].path.write_bytes(cut(sweeps[0].path))
    sweeps[1].path.write_bytes(nan(sweeps[1].path))
    sweeps[2].path.unlink()
    image.write_bytes(image.read_bytes()[:400])
    cache.save(sweeps[4].token, cache.load(sweeps[4].token)[:-3])
    return root, regions, [sweep.token for sweep in sweeps]


def config_of(index: Path, spoilt: tuple[Path, Path, list[str]], steps: int = STEPS, **more: Any) -> Any:
    root, regions, _ = spoilt
    return pretrain_config(index, regions, steps, "demo_joint", **{"data.root": str(root), **SMALL, **more})


@pytest.fixture(scope="module")
def tolerant(
    spoilt: tuple[Path, Path, list[str]], tiny_index: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("tolerant") / "run"
    pretrain(config_of(tiny_index, spoilt, **{"data.bad_samples": 0.6}), run)
    return run


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / BAD_SAMPLES).read_text().splitlines()]


def test_each_bad_sample_is_named_once(tolerant: Path, spoilt: tuple[Path, Path, list[str]]) -> None:
    rows = rows_of(tolerant)
    root, regions, tokens = spoilt
    assert sorted(row["token"] for row in rows) == sorted(tokens)
    errors = {row["token"]: row["error"] for row in rows}
    for token, word in zip(tokens, ["bytes", "not finite", "missing", "image", "regions"], strict=True):
        assert word in errors[token]
    assert all(str(row["path"]).startswith((str(root), str(regions))) for row in rows)
    counts = [row["data/bad_samples"] for row in read_metrics(tolerant)]
    assert counts == [sum(row["step"] <= step for row in rows) for step in range(1, STEPS + 1)]
    assert counts[-1] == 5


def test_workers_and_stops_make_no_difference(
    tolerant: Path, spoilt: tuple[Path, Path, list[str]], tiny_index: Path, tmp_path: Path
) -> None:
    """Two workers, ended and gone on with in the middle."""
    more = {"data.bad_samples": 0.6, "data.workers": 2, "runtime.save_every": 2}

    class End(Exception):
        pass

    def end(*_: Any) -> None:
        raise End

    with before_step(5, end), pytest.raises(End):
        pretrain(config_of(tiny_index, spoilt, **more), tmp_path)
    pretrain(config_of(tiny_index, spoilt, **more), tmp_path, resume=True)
    for name in ("backbone.safetensors", "heads.safetensors", BAD_SAMPLES):
        assert (tmp_path / name).read_bytes() == (tolerant / name).read_bytes(), name


def test_a_used_up_budget_ends_the_run(
    spoilt: tuple[Path, Path, list[str]], tiny_index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = SweepIndex.open(tiny_index)
    sound = [token for row in index.key_rows(None) if (token := index[int(row)].token) not in spoilt[2]]
    apart = [token for pair in zip(sound, spoilt[2][1:], strict=True) for token in pair]
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("".join(f"{token}\n" for token in [*apart, spoilt[2][0]]))

    def run(share: float, **start: Any) -> tuple[int, str]:
        more = {"data.bad_samples": share, "data.batch_size": 1, "data.tokens": str(tokens)}
        config = config_of(tiny_index, spoilt, **more)
        return ended(lambda: pretrain(config, tmp_path / "run", **start), capsys)

    code, message = run(0.25)
    assert code == 2
    assert "3 samples cannot be read; data.bad_samples=0.25 allows 2 of 9; saved at step" in message
    assert message.count("error: ") == message.count("where: ") == message.count("remedy: ") == 1
    assert len(rows_of(tmp_path / "run")) == 3
    code, message = run(0.6, resume=True)
    assert code == 2
    assert "data.bad_samples: 0.25 then, 0.6 now" in message
    code, message = run(0.6, resume=True, allow_change=["data.bad_samples"])
    assert code == 0, message
    assert sorted(row["token"] for row in rows_of(tmp_path / "run")) == sorted(spoilt[2])


@pytest.mark.parametrize("workers", [0, 1])
def test_data_without_a_sound_sample_end_the_run(
    spoilt: tuple[Path, Path, list[str]],
    tiny_index: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("".join(f"{token}\n" for token in spoilt[2]))
    more = {"data.tokens": str(tokens), "data.bad_samples": 0.99, "data.workers": workers}
    code, message = ended(lambda: pretrain(config_of(tiny_index, spoilt, **more), tmp_path / "run"), capsys)
    assert code == 2
    assert "none of the 5 samples can be read\n" in message


def test_no_bad_sample_is_tolerated_unasked(
    spoilt: tuple[Path, Path, list[str]], tiny_index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = ended(lambda: pretrain(config_of(tiny_index, spoilt), tmp_path), capsys)
    assert code == 2
    assert not (tmp_path / BAD_SAMPLES).exists()
    assert "bad_samples" not in message


def test_the_stand_in_is_the_next_sound_sample(
    spoilt: tuple[Path, Path, list[str]], tiny_index: Path, tmp_path: Path
) -> None:
    config = config_of(tiny_index, spoilt)
    dataset = build_dataset(plain(config.data), objective_needs(plain(config.objectives)))
    budget = bad_sample_budget(0.6, dataset)
    assert budget == Budget(0.6, 9)
    tolerant = TolerantDataset(dataset, budget)
    for position in range(1, 6):
        sample = tolerant[3, position]
        assert sample.token == dataset[3, 6].token
        assert [row["token"] for row in sample.meta["bad_samples"]] == spoilt[2][position - 1 :]
        shown = [frame.views["a"].points for frame in (sample.frames["t"], dataset[3, 6].frames["t"])]
        np.testing.assert_array_equal(*shown)


def test_the_budget_is_a_share_of_different_frames(tiny_index: Path, tiny_regions: Path) -> None:
    config = pretrain_config(tiny_index, tiny_regions, 1, "sim_prc", **{"data.repeat": 3})
    dataset = build_dataset(plain(config.data), objective_needs(plain(config.objectives)))
    assert len(dataset) == 18
    assert bad_sample_budget(0, dataset) is None
    for share, allowed in ((0.01, 1), (0.34, 2), (0.5, 3)):
        budget = bad_sample_budget(share, dataset)
        assert budget is not None
        assert (budget.frames, budget.allowed) == (6, allowed)
    assert Budget(0.01, 28130).allowed == 281
    with pytest.raises(ValueError, match=r"data\.bad_samples is 1"):
        bad_sample_budget(1, dataset)
