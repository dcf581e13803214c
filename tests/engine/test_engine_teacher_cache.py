"""Maps of a frozen teacher on disk: what they are, a loss moves by rounding only; what is refused."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_configs import CONFIGS, pretrain_config, read_metrics
from mmengine.config import Config

from pc3d.data.batch_plain import batch_from_plain, batch_to_plain
from pc3d.data.collate import collate
from pc3d.data.errors import DataError
from pc3d.data.frame_images import images_of
from pc3d.data.teacher_cache import NO_CAMERA, TeacherCache
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import MixedDataset, build_dataset
from pc3d.engine.pretrainer import Pretrainer, build_pretrainer, objective_needs, pretrain
from pc3d.engine.runs.settings import run_contract
from pc3d.engine.teacher_maps import check_encoder, use_teacher_cache, weights_hash
from pc3d.models.image import build_image_encoder
from pc3d.models.image.base import ImageEncoder

SIZE = (64, 128)
OBJECTIVES: dict[str, Any] = {
    "slidr": {"type": "SuperpixelContrast", "pixel_stride": 2},
    "ppkt": {"type": "PPKT", "num_pairs": 200},
    "scalr": {"type": "ScaLR", "head": "mlp", "hidden": 16, "layers": [-2, -1], "scene_weight": 0.5},
    "seal": {"type": "Seal"},
    "superflow": {"type": "SuperFlow"},
}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def settings(tiny_index: Path, tiny_regions: Path) -> Any:
    def make(**more: Any) -> Config:
        config = pretrain_config(tiny_index, tiny_regions, 2, "sim_slidr", **{"data.image_size": SIZE})
        config.objectives = {"slidr": OBJECTIVES["slidr"]}
        config.merge_from_dict(more)
        return config

    return make


def opened(config: Config) -> tuple[MixedDataset, Pretrainer]:
    needs = objective_needs(plain(config.objectives))
    return build_dataset(plain(config.data), needs, 0), build_pretrainer(config)


def files(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*.npy")}


@pytest.fixture(scope="module")
def both(settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Data sets with and without a cache, the model of both, and the folder."""
    folder = tmp_path_factory.mktemp("maps")
    config = settings(**{"data.teacher_cache": str(folder)})
    config.objectives = OBJECTIVES
    config.data.cameras = None
    cached, model = opened(config)
    use_teacher_cache(config, cached, model.image)
    return config, opened(config)[0], cached, model, folder


def test_the_maps_are_those_of_the_encoder_to_half_precision(both: Any) -> None:
    _, plain_data, cached, model, _ = both
    for frame in ("t", "t-1", "t+1", "dense"):
        images, maps = (data[0, 1].frames[frame].images for data in (plain_data, cached))
        assert maps.rgb is None
        rgb = torch.from_numpy(images.rgb).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            levels = model.image.pyramid(rgb)
        for ours, theirs in zip(maps.levels, levels, strict=True):
            assert ours.dtype == np.float16
            # Half of the last of 11 bits; and other sums of the kernels for other numbers of images.
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=2**-11 * 1.1, atol=5e-4)


def test_every_objective_loses_the_same_but_for_rounding_without_a_pass_of_the_teacher(both: Any) -> None:
    _, plain_data, cached, model, _ = both
    batches = [collate([data[0, n] for n in (0, 1)]) for data in (plain_data, cached)]
    with torch.no_grad():
        exact, rounded = (model.eval()(batch) for batch in batches)
    for name in OBJECTIVES:
        a, b = exact[f"{name}/loss"].item(), rounded[f"{name}/loss"].item()
        assert a != 0
        assert b == pytest.approx(a, rel=2e-4), name
    encodings = model.encode(batches[1])
    for frame in ("t", "t-1"):
        assert encodings.image(frame).dtype == torch.float32
        assert len(encodings.pyramid(frame)) == 2
    assert not encodings.passes
    again = batch_from_plain(batch_to_plain(batches[1]))
    torch.testing.assert_close(model.encode(again).image(), encodings.image(), rtol=0, atol=0)


def test_a_missing_camera_is_what_the_teacher_makes_of_black(both: Any) -> None:
    _, _, cached, model, _ = both
    part = cached.parts[0]
    sweep = part.index[int(part.rows[0])]
    draw = part.image_draw(sweep)
    names = (*draw.cameras[:1], "CAM_NONE")
    lacking = type(draw)(names, (False, False), draw.size, draw.resize)
    levels = images_of(sweep, lacking, True, teacher=part._sources.teacher).levels
    with torch.no_grad():
        black = model.image.pyramid(torch.zeros(1, 3, *SIZE))
    for level, expected in zip(levels or [], black, strict=True):
        np.testing.assert_allclose(level[1], expected[0].numpy(), rtol=2**-11 * 1.1, atol=5e-4)


def test_filling_goes_on_where_it_was_and_makes_nothing_twice(both: Any, capfd: Any) -> None:
    config, _, _, model, folder = both
    before = files(folder)
    lost = sorted(p for p in folder.rglob("*.npy") if "CAM" in p.name)[::5]
    for path in lost:
        path.unlink()
    (lost[0].parent / f".{lost[0].name}.host-1-2-3.partial").write_bytes(b"torn")
    again, _ = opened(config)
    use_teacher_cache(config, again, model.image)
    after = files(folder)
    assert after.keys() == before.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {str(p.relative_to(folder)) for p in lost}
    assert f"{len(lost)} made now" in capfd.readouterr().out


def test_a_run_with_data_workers_reads_no_image(
    settings: Any, tiny_nuscenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run finds every map, and the images are gone."""
    shutil.copytree(tiny_nuscenes, tmp_path / "drive")
    more: dict[str, Any] = {"data.root": str(tmp_path / "drive")}
    pretrain(settings(**more), tmp_path / "exact")
    more["data.teacher_cache"] = str(tmp_path / "maps")
    pretrain(settings(**more), tmp_path / "one")
    for image in (tmp_path / "drive").rglob("*.jpg"):
        image.unlink()
    pretrain(settings(**more, **{"data.workers": 1}), tmp_path / "two")
    losses = [[row["loss"] for row in read_metrics(tmp_path / run)] for run in ("exact", "one", "two")]
    assert losses[1] == losses[2]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[1] != losses[0]


def test_several_processes_share_the_work(settings: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Each of three makes a third of all images, whatever the others have made before."""
    from pc3d.engine import teacher_maps

    config = settings(**{"data.teacher_cache": str(tmp_path)})
    monkeypatch.setattr(teacher_maps, "world", lambda: 3)
    made: list[set[str]] = []
    for number in (0, 1, 2):
        before = set(files(tmp_path))
        monkeypatch.setattr(teacher_maps, "rank", lambda number=number: number)
        data, model = opened(config)
        use_teacher_cache(config, data, model.image)
        made.append({name for name in set(files(tmp_path)) - before if "CAM" in name})
    rows, cameras = len(data.parts[0].image_rows()), 6
    assert sum(map(len, made)) == rows * cameras
    assert max(map(len, made)) - min(map(len, made)) <= 1


def test_no_file_is_torn_when_many_write_it(tmp_path: Path) -> None:
    cache = TeacherCache.create(tmp_path, [(3, 4, 5), (2, 2, 2)], {})
    levels = [np.random.default_rng(0).random(shape) for shape in cache.shapes]

    def work(number: int) -> list[Any]:
        if number % 2:
            cache.save("sweep", "CAM/ñ", levels)
        return cache.load("sweep", "CAM/ñ") if cache.has("sweep", "CAM/ñ") else levels

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(work, range(200)):
            for level, expected in zip(found, levels, strict=True):
                np.testing.assert_allclose(level, expected, rtol=1e-3)
    assert TeacherCache.open(tmp_path) == cache
    assert len(files(tmp_path)) == 1


def test_other_weights_sizes_and_data_have_other_folders(settings: Any, tmp_path: Path) -> None:
    for number, more in enumerate(
        ({}, {"image.pretrained": False}, {"data.image_size": (64, 96)}, {"data.resize": "stretch"}, {})
    ):
        config = settings(**{"data.teacher_cache": str(tmp_path), "init": {"random": True}, **more})
        data, model = opened(config)
        for part in data.parts:
            part._rows = part.rows[:1]
        use_teacher_cache(config, data, model.image)
        assert len(list(tmp_path.glob("*/cache.json"))) == min(number, 3) + 1
    with torch.no_grad():
        before = weights_hash(model.image)
        next(model.image.buffers()).add_(1)
    assert weights_hash(model.image) != before


def test_broken_maps_are_named(tmp_path: Path) -> None:
    cache = TeacherCache.create(tmp_path, [(1, 2, 2)], {})
    with pytest.raises(DataError, match="no maps of camera CAM of sweep s"):
        cache.load("s", "CAM")
    with pytest.raises(DataError, match="no maps of a missing camera"):
        cache.load("", NO_CAMERA)
    path = cache.save("s", "CAM", [np.ones((1, 2, 2))])
    whole = path.read_bytes()
    for content in (whole[:-1], b"", b"no array", whole[:30]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="maps are broken"):
            cache.load("s", "CAM")
    with pytest.raises(ValueError, match=r"shapes \[\(1, 2, 3\)\]"):
        cache.save("s", "CAM", [np.ones((1, 2, 3))])
    for value in (1e6, np.nan):
        with pytest.raises(DataError, match="not finite, or above 65504"):
            cache.save("s", "CAM", [np.full((1, 2, 2), value)])
    (tmp_path / "cache.json").write_text("{}")
    with pytest.raises(DataError, match="no maps of a teacher"):
        TeacherCache.open(tmp_path)


def test_an_image_that_cannot_be_read_is_named_or_left_to_the_budget(
    settings: Any, tiny_nuscenes: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_nuscenes, tmp_path / "drive")
    more = {"data.root": str(tmp_path / "drive"), "data.teacher_cache": str(tmp_path / "maps")}
    config = settings(**more)
    data, model = opened(config)
    sweep = data.parts[0].index[int(data.parts[0].rows[0])]
    sweep.cameras[0].path.write_bytes(b"no image")
    with pytest.raises(DataError, match=sweep.token):
        use_teacher_cache(config, data, model.image)
    config = settings(**more, **{"data.bad_samples": 0.5})
    use_teacher_cache(config, data, model.image)
    cache = data.parts[0]._sources.teacher
    assert not cache.has(sweep.token, sweep.cameras[0].name)
    assert cache.has(sweep.token, sweep.cameras[1].name)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"image.frozen": False}, "this one trains: set image.frozen=True"),
        ({"data.image_flip": 0.5}, "`data.image_flip` augments them"),
        ({"data.image_crop": {}, "data.resize": "stretch"}, "`data.image_crop` augments them"),
    ],
)
def test_images_or_teachers_that_change_are_refused(
    more: dict[str, Any], said: str, tiny_index: Path, tiny_regions: Path
) -> None:
    data = {"data.index": str(tiny_index), "data.regions": str(tiny_regions), "data.teacher_cache": "maps"}
    with pytest.raises(ValueError, match=r"data\.teacher_cache") as error:
        load_config(CONFIGS / "pretrain/sim_slidr.py", "pretrain", {**data, **more})
    assert said in str(error.value)
    assert str(error.value).count("` keeps the maps") == 1


def test_fine_tuning_refuses_it(tiny_index: Path) -> None:
    data = {"data.index": str(tiny_index), "data.teacher_cache": "maps"}
    with pytest.raises(ValueError, match="leave it out in fine-tuning"):
        load_config(CONFIGS / "finetune/sim_5_percent.py", "finetune", data)


def test_an_encoder_whose_levels_cannot_be_joined_is_refused() -> None:
    class Own(ImageEncoder):
        channels, stride, frozen = 3, 1, True
        level_channels = (3, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

    with pytest.raises(ValueError, match="Own does not say how its 2 levels"):
        check_encoder(Own())
    trained = build_image_encoder({"type": "EfficientNetLite0", "frozen": False, "pretrained": False})
    with pytest.raises(ValueError, match="the image encoder trains"):
        check_encoder(trained)
    with pytest.raises(ValueError, match="there is no image encoder"):
        check_encoder(None)


def test_the_contract_knows_it_wherever_it_lies(settings: Any) -> None:
    contracts = []
    for more in ({}, {"data.teacher_cache": "a"}, {"data.teacher_cache": "b"}):
        config = settings(**more)
        contracts.append(run_contract(config, opened(config)[0], 2, 1))
    assert "data.teacher_cache" not in contracts[0]
    assert contracts[1]["data.teacher_cache"] == "float16"
    assert contracts[1] == contracts[2]


def test_options_that_came_later_change_no_older_contract(settings: Any) -> None:
    config = settings(**{"objectives": {"_delete_": True, "scalr": {"type": "ScaLR"}}})
    config.objectives = {"scalr": {"type": "ScaLR"}}
    contract = run_contract(config, opened(config)[0], 2, 1)
    assert {key for key in contract if key.startswith("objectives.")} == {
        "objectives.scalr.type",
        "objectives.scalr.weight",
    }
    assert "data.other_frames_images" not in contract
    config.objectives.scalr.distance = "cosine"
    assert run_contract(config, opened(config)[0], 2, 1)["objectives.scalr.distance"] == "cosine"


def test_a_layer_that_the_teacher_of_a_config_lacks_is_a_fault_of_the_config(
    tiny_index: Path, tiny_regions: Path
) -> None:
    data = {"data.index": str(tiny_index), "data.regions": str(tiny_regions)}
    for levels, layers, right in (
        ((8, 16), (-2, -1), True),
        ((16,), (-2, -1), False),
        ((8, 16), (-3,), False),
    ):
        more = {"image.levels": levels, "objectives.scalr.layers": layers}
        if right:
            load_config(CONFIGS / "pretrain/sim_scalr.py", "pretrain", {**data, **more})
            continue
        with pytest.raises(ValueError, match=rf"layers` cannot be used: layers .* with {len(levels)} level"):
            load_config(CONFIGS / "pretrain/sim_scalr.py", "pretrain", {**data, **more})
