"""Every kind of regions on the real samples, as the loader reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pc3d.data.batch import ID_KINDS, Needs
from pc3d.data.build import build_index
from pc3d.data.dataset import FrameDataset
from pc3d.data.frames import FrameConfig
from pc3d.regions.build import KINDS, Params, build_sweep, open_cache, prepare
from pc3d.regions.key_frame import key_frames
from pc3d.regions.semantics import SemanticParams
from pc3d.regions.superpixels import SuperpixelParams

ALL: dict[str, Params] = {
    **{name: kind.params() for name, kind in KINDS.items()},
    "superpixels": SuperpixelParams(width=224),
    "semantics": SemanticParams(clusters=16, fit_images=4),
}


@pytest.mark.parametrize(
    ("reader", "folder", "options"),
    [("kitti_raw", "kitti_raw", {}), ("nuscenes", "nuscenes", {"version": "v1.0-mini"})],
)
def test_every_kind(
    real_data: Path, tmp_path: Path, reader: str, folder: str, options: dict[str, str]
) -> None:
    index = build_index(reader, real_data / folder, tmp_path / "index", "the test", **options)
    rows = index.key_rows(None)[:2]
    prepare(index, tmp_path, ALL)
    for frame in key_frames(index, rows):
        summary = build_sweep(frame, str(tmp_path), ALL)
        assert not summary.failures
        for kind in ("clusters", "supervoxels", "objects"):
            assert summary.statistics()[kind]["regions per sweep"] > 5  # type: ignore[operator]
        assert summary.statistics()["semantics"]["ids per image"] > 4  # type: ignore[operator]
    caches = {name: open_cache(tmp_path, kind, ALL[kind]) for name, kind in ID_KINDS.items()}
    needs = Needs(**dict.fromkeys(ID_KINDS, True), frames=("t", "t+1"))
    dataset = FrameDataset(
        index, needs, rows=rows[:1], config=FrameConfig(image_size=(112, 224)), caches=caches
    )
    now = dataset[0].frames["t"]
    assert now.tracks.max() > 20
    assert now.tracks.shape == now.moving.shape == (now.num_points,)
    for ids in (now.regions, now.supervoxels, now.objects):
        assert ids.shape == (now.num_points,)
        np.testing.assert_array_equal(np.unique(ids), np.arange(-1, ids.max() + 1))
    assert now.semantics.shape == now.superpixels.shape == (len(now.draw.cameras), 112, 224)
    assert now.semantics.min() >= 0
