"""Small drives of formats that pc3d reads in place, and all that a run would read of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from argoverse2_logs import START, write, write_log
from fuzzed_formats import Format, Sources
from pandaset_sequences import write_sequence
from waymo_segments import SEGMENT, write_segment

from pc3d.data.classes import ClassSet
from pc3d.data.images import load_image
from pc3d.data.labels import load_labels
from pc3d.data.points import load_sweep
from pc3d.data.readers import open_reader


def read_drive(reader: str, root: Path) -> list[Any]:
    """Sweeps, points, labels and images of a drive."""
    source = open_reader(reader, root)
    found: list[Any] = []
    for sweep in source.sweeps():
        points = load_sweep(sweep)
        found += [sweep, points]
        if sweep.lidarseg_path is not None:
            classes = ClassSet.of(source.metadata)
            assert classes is not None
            found.append(load_labels(sweep, len(points), classes))
        found += [load_image(camera.path, size=camera.size, key=camera.key) for camera in sweep.cameras]
    return found


def _format(reader: str, make: Callable[[Path], object], name: str, depth: int) -> Format:
    """The file `name` below the folder that `make` fills, which is read from `depth` folders above."""

    def made(folder: Path, _: Sources) -> Path:
        make(folder / "data")
        return next((folder / "data").glob(name))

    return Format(
        made, lambda path: read_drive(reader, path.parents[depth]), name.endswith(".json"), folder=True
    )


def _log(folder: Path) -> None:
    write_log(folder / "log-0")
    write(
        folder / "log-0" / "annotations.feather",
        timestamp_ns=[START, START],
        track_uuid=["a", "b"],
        category=["BUS", "DOG"],
        **{name: [1.5, 2.5] for name in ("length_m", "width_m", "height_m", "tx_m", "ty_m", "tz_m")},
        **{name: [0.5, -0.5] for name in ("qw", "qx", "qy", "qz")},
        num_interior_pts=pa.array([3, 0]),
    )


def _sequence(folder: Path) -> None:
    write_sequence(folder / "042")


def _segment(folder: Path) -> None:
    write_segment(folder / "training", frames=1)


CONTAINERS: dict[str, Format] = {
    **{
        f"argoverse2 {name}": _format("argoverse2", _log, f"log-0/{name}", depth)
        for name, depth in (
            ("city_SE3_egovehicle.feather", 1),
            ("annotations.feather", 1),
            ("calibration/intrinsics.feather", 2),
            ("calibration/egovehicle_SE3_sensor.feather", 2),
        )
    },
    **{
        f"pandaset {name}": _format("pandaset", _sequence, f"042/{name}", depth)
        for name, depth in (
            ("lidar/poses.json", 2),
            ("lidar/timestamps.json", 2),
            ("camera/front_camera/intrinsics.json", 3),
            ("annotations/cuboids/01.pkl.gz", 3),
            ("annotations/semseg/01.pkl.gz", 3),
        )
    },
    **{
        f"waymo {tag}": _format("waymo", _segment, f"training/{tag}/{SEGMENT}.parquet", 2)
        for tag in (
            *("lidar", "lidar_pose", "lidar_calibration", "lidar_segmentation", "vehicle_pose"),
            *("lidar_box", "camera_image", "camera_calibration"),
        )
    },
}
