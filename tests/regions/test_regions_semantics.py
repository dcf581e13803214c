"""Semantic ids: the codebook against scikit-learn, the same ids everywhere, the simulator's truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.cluster import KMeans

from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.labels import load_label_file
from pc3d.data.pairing import PairingConfig, pair_camera
from pc3d.data.points import load_points
from pc3d.data.region_cache import RegionCache
from pc3d.regions.build import build_sweep, open_cache, prepare
from pc3d.regions.key_frame import key_frames
from pc3d.regions.semantics import SEMANTIC_CLASSES, SemanticParams, semantic_ids
from pc3d.regions.semantics.kmeans import Codebook, codebook_path, dense_features
from pc3d.regions.semantics.oracle import pixel_truth, truth_path
from pc3d.regions.statistics import SemanticCounts, count_semantics

NUSCENES = load_class_set("nuscenes")

FEW = SemanticParams(clusters=8, fit_images=6, fit_cells=50, height=96, width=160)


def test_codebook_is_k_means_of_standardised_unit_features() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(300, 5)) * [1, 10, 0.1, 3, 1] + 2).astype(np.float32)
    features[:, 2] = 7.0  # a channel that says nothing
    ids = Codebook.fit(features, 4, seed=1).ids(torch.from_numpy(features).view(30, 10, 5))
    moved = features.astype(np.float64) - features.mean(axis=0)
    moved[:, [0, 1, 3, 4]] /= moved[:, [0, 1, 3, 4]].std(axis=0)
    moved[:, 2] = 0
    unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    expected = KMeans(4, n_init=1, random_state=1).fit_predict(unit.astype(np.float32))
    assert ids.dtype == np.int16
    assert ids.shape == (30, 10)
    assert (ids.ravel() == expected).mean() > 0.99
    with pytest.raises(ValueError, match="3 features for 4 clusters"):
        Codebook.fit(features[:3], 4, seed=0)


def test_ids_of_a_drive_follow_the_content_not_the_image(tiny_index: Path, tiny_regions: Path) -> None:
    """The same picture has the same ids as another camera's, and each id keeps to one class."""
    index = SweepIndex.open(tiny_index)
    params = SemanticParams()
    cache = open_cache(tiny_regions, "semantics", params)
    counts = SemanticCounts()
    for row in index.key_rows("sim_val"):
        sweep = index[int(row)]
        maps = cache.load_all(sweep.token)
        assert list(maps) == [camera.name for camera in sweep.cameras]
        assert {ids.shape for ids in maps.values()} == {(28, 56)}
        for camera in sweep.cameras:
            counts += count_semantics(maps[camera.name], pixel_truth(camera))
    summary = counts.summary()
    assert summary["share with an id"] == 1
    assert summary["ids per image"] > 10  # type: ignore[operator]
    majority = max(counts_by_class(counts).values()) / counts.overlap.total()
    assert summary["purity against labels"] > majority + 0.15  # type: ignore[operator]

    renamed = replace(sweep, cameras=(replace(sweep.cameras[0], name="OTHER"),))
    again = semantic_ids(renamed, params, cache)["OTHER"]
    assert (again == maps[sweep.cameras[0].name]).mean() > 0.99


def counts_by_class(counts: SemanticCounts) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for (_, label), pixels in counts.overlap.items():
        sizes[label] = sizes.get(label, 0) + pixels
    return sizes


def test_codebook_is_fitted_once_on_the_train_split(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    frame = next(key_frames(index, index.key_rows("sim_val")))
    for folder in (tmp_path / "a", tmp_path / "b"):
        prepare(index, folder, {"semantics": FEW})
    caches = [open_cache(tmp_path / name, "semantics", FEW) for name in "ab"]
    first, second = (Codebook.load(codebook_path(cache)) for cache in caches)
    np.testing.assert_array_equal(first.centres, second.centres)
    named = replace(FEW, fit_split="sim_train")
    prepare(index, tmp_path / "a", {"semantics": named})
    same = Codebook.load(codebook_path(open_cache(tmp_path / "a", "semantics", named)))
    np.testing.assert_array_equal(first.centres, same.centres)

    assert not build_sweep(frame, str(tmp_path / "a"), {"semantics": FEW}).failures
    written = codebook_path(caches[0]).stat().st_mtime_ns
    prepare(index, tmp_path / "a", {"semantics": FEW})
    assert codebook_path(caches[0]).stat().st_mtime_ns == written
    codebook_path(caches[0]).unlink()
    with pytest.raises(DataError, match="not the codebook that made them"):
        prepare(index, tmp_path / "a", {"semantics": FEW})
    (failure,) = build_sweep(frame, str(tmp_path / "none"), {"semantics": FEW}).failures
    assert "--kinds semantics" in failure.error


def test_teachers_without_weights_agree_over_processes(tiny_index: Path) -> None:
    from pc3d.regions.semantics import kmeans

    index = SweepIndex.open(tiny_index)
    cameras = index[int(index.key_rows(None)[0])].cameras[:1]
    params = replace(FEW, teacher={"type": "EfficientNetLite0", "levels": [16], "pretrained": False})
    first = dense_features(cameras, params)
    assert first.shape == (1, 6, 10, 112)
    kmeans._teacher.cache_clear()
    torch.manual_seed(7)
    torch.testing.assert_close(first, dense_features(cameras, params))


def test_oracle_agrees_with_the_points_that_pixels_show(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    sweep = index[int(index.key_rows(None)[0])]
    params = SemanticParams(source="oracle")
    cache = RegionCache(tmp_path, "semantics", {})
    with pytest.warns(UserWarning, match="are labels"):
        prepare(index, tmp_path, {"semantics": params})
    ids = semantic_ids(sweep, params, cache)
    points = load_points(sweep.path, sweep.lidar_format)
    assert sweep.lidarseg_path is not None
    labels = load_label_file(sweep.lidarseg_path, len(points), NUSCENES)
    right = seen = 0
    for camera in sweep.cameras:
        assert ids[camera.name].shape == camera.size[::-1]
        assert ids[camera.name].max() == SEMANTIC_CLASSES.index("sky")
        pairs = pair_camera(points, sweep, camera, PairingConfig())
        x, y = pairs.uv.astype(np.int64).T
        known = labels[pairs.row] >= 0
        right += (ids[camera.name][y, x] == labels[pairs.row])[known].sum()
        seen += known.sum()
    assert right / seen > 0.9


def test_oracle_refuses_what_is_no_truth(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    path = tmp_path / "samples" / "CAM" / "1.jpg"
    camera = replace(index[0].cameras[0], path=path, name="CAM", size=(6, 4))
    with pytest.raises(DataError, match="only simulated data sets"):
        pixel_truth(camera)
    path = truth_path(camera)
    path.parent.mkdir(parents=True)
    for content in (np.full((4, 6), 77, np.uint8), np.zeros((4, 6, 3), np.uint8)):
        Image.fromarray(content).save(path)
        with pytest.raises(DataError, match="no grey map of lidarseg categories"):
            pixel_truth(camera)
    path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot be read"):
        pixel_truth(camera)
    Image.fromarray(np.array([[0, 31, 17, 24, 255]], np.uint8)).save(path)
    row = pixel_truth(replace(camera, size=(5, 1)))[0]
    names = [SEMANTIC_CLASSES[i] if i >= 0 else None for i in row]
    assert names == [None, None, "car", "driveable_surface", "sky"]


def test_purity_counted_by_hand() -> None:
    ids = np.array([[0, 1], [1, -1]])
    labels = np.array([[4, 4, 5, 5], [4, -1, 5, 6], [5, 5, 0, 0], [5, 6, 0, 0]])
    counts = count_semantics(ids, labels)
    assert counts.overlap == {(0, 4): 3, (1, 5): 6, (1, 6): 2}
    assert (counts.cells, counts.cells_with_id, counts.ids) == (4, 3, 2)
    other = count_semantics(np.zeros((1, 1), int), np.array([[6, 6, 6, 6]]))
    summary = (counts + other).summary()
    # Id 0 is now 3 pixels of class 4 and 4 of class 6: pure in each image, not over both.
    assert summary["purity against labels"] == pytest.approx((4 + 6) / 15)
    assert summary["ids per image"] == 1.5
    assert count_semantics(ids).summary()["purity against labels"] is None


def test_bad_settings_are_named() -> None:
    for settings, words in (
        ({"source": "magic"}, "expected one of kmeans, png, text, oracle"),
        ({"source": "png"}, "set `folder`"),
        ({"prompt": "a car"}, "where the class belongs"),
        ({"clusters": 0}, "clusters is 0"),
    ):
        with pytest.raises(ValueError, match=words):
            SemanticParams(**settings)  # type: ignore[arg-type]


def test_a_broken_codebook_is_named(tmp_path: Path) -> None:
    path = tmp_path / "codebook.npz"
    for content in (b"", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="codebook of the semantics cannot be read"):
            Codebook.load(path)
