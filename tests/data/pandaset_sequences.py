"""Sequences of the published PandaSet layout: pickles as pandas 1 writes them, made without pandas."""

from __future__ import annotations

import gzip
import io
import json
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation


class _Made:
    """Stands for an object that a pickle makes by a call and a state."""

    def __init__(self, maker: type, arguments: tuple, state: Any) -> None:
        self.parts = maker, arguments, state

    def __reduce__(self) -> tuple:
        return self.parts if self.parts[2] is not None else self.parts[:2]


def _named(module: str, name: str) -> type:
    return type(name, (), {"__module__": module, "__qualname__": name})


class _Pickler(pickle._Pickler):
    """Writes names of modules that are not there."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        self.write(pickle.GLOBAL + f"{obj.__module__}\n{obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch: ClassVar[dict] = {**pickle._Pickler.dispatch, type: save_global}


_INDEX = _named("pandas.core.indexes.base", "Index")
_RANGE = _named("pandas.core.indexes.range", "RangeIndex")
_NEW_INDEX = _named("pandas.core.indexes.base", "_new_Index")
_MANAGER = _named("pandas.core.internals.managers", "BlockManager")
_FRAME = _named("pandas.core.frame", "DataFrame")


def write_frame(path: Path, columns: dict[str, Any]) -> None:
    """A data frame as pandas 1 pickles it, a block a column."""
    arrays = [np.asarray(values) for values in columns.values()]
    arrays = [array.astype(object) if array.dtype.kind == "U" else array for array in arrays]
    rows = len(arrays[0])
    axes = [
        _Made(_NEW_INDEX, (_INDEX, {"data": np.array(list(columns), dtype=object), "name": None}), None),
        _Made(_NEW_INDEX, (_RANGE, {"name": None, "start": 0, "stop": rows, "step": 1}), None),
    ]
    blocks = [{"values": array[None], "mgr_locs": slice(n, n + 1, 1)} for n, array in enumerate(arrays)]
    state = (axes, [], [], {"0.14.1": {"axes": axes, "blocks": blocks}})
    frame = _Made(_FRAME, (), {"_data": _Made(_MANAGER, (), state), "_typ": "dataframe"})
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=3).dump(frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(buffer.getvalue()))


START = 1_557_539_924.0
CAM_R = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # camera axes in a frame that looks along +y
CAR = {"size": (1.8, 4.5, 1.6), "yaw": 0.7, "at": (12.0, 5.0, 0.8), "speed": (4.0, -3.0)}


def pose(seconds: float) -> tuple[Rotation, np.ndarray]:
    """world_SE3_pose of a car that drives with a roll and a pitch."""
    return Rotation.from_euler("zyx", [-0.5 + 0.1 * seconds, 0.05, -0.04]), np.array([3, 6 * seconds, 0.1])


def stamped(folder: Path, offsets: list[float], mount: tuple[np.ndarray, list[float]]) -> None:
    poses = []
    for offset in offsets:
        rotation, shift = pose(offset)
        w = np.roll((rotation * Rotation.from_matrix(mount[0])).as_quat(), 1)
        place = rotation.apply(mount[1]) + shift
        heading = dict(zip("wxyz", w.tolist(), strict=True))
        poses.append({"position": dict(zip("xyz", place.tolist(), strict=True)), "heading": heading})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "poses.json").write_text(json.dumps(poses))
    (folder / "timestamps.json").write_text(json.dumps([START + offset for offset in offsets]))


def in_the_car(seconds: float) -> np.ndarray:
    """World points on a grid of the car, whose length lies along its y axis."""
    half = np.array(CAR["size"]) / 2 * 0.99
    grid = np.stack(np.meshgrid(*[np.linspace(-h, h, 4) for h in half]), axis=-1).reshape(-1, 3)
    turned = Rotation.from_euler("z", CAR["yaw"]).apply(grid)
    return turned + CAR["at"] + np.array([*CAR["speed"], 0.0]) * seconds


def write_sequence(folder: Path) -> Path:
    """Three frames of one car, seen by both LiDARs."""
    offsets = [0.0, 0.1, 0.2]
    stamped(folder / "lidar", offsets, (np.eye(3), [0, 0, 0]))
    stamped(folder / "camera" / "front_camera", [o - 0.03 for o in offsets], (CAM_R, [0.1, 0.5, 1.8]))
    pinhole = {"fx": 90.0, "fy": 91.0, "cx": 60.0, "cy": 33.0}
    (folder / "camera" / "front_camera" / "intrinsics.json").write_text(json.dumps(pinhole))
    for n, offset in enumerate(offsets):
        car = in_the_car(offset)
        xyz = np.concatenate([car, np.random.default_rng(n).uniform(-50, 50, (60, 3))])
        device = np.arange(len(xyz)) % 2
        write_frame(
            folder / "lidar" / f"{n:02d}.pkl.gz",
            {
                **dict(zip("xyz", xyz.T, strict=True)),
                "i": np.linspace(0, 255, len(xyz)),
                "t": START + offset - 0.05 + 1e-4 * np.arange(len(xyz)),
                "d": device.astype(np.int64),
            },
        )
        write_frame(folder / "annotations" / "semseg" / f"{n:02d}.pkl.gz", {"class": 7 + 6 * device})
        width, length, height = CAR["size"]
        x, y, z = np.array(CAR["at"]) + np.array([*CAR["speed"], 0.0]) * offset
        two = lambda value: [value, value]  # noqa: E731
        write_frame(
            folder / "annotations" / "cuboids" / f"{n:02d}.pkl.gz",
            {
                "uuid": ["track-a", "track-b"],
                "label": two("Car"),
                "yaw": two(CAR["yaw"]),
                **{f"position.{k}": two(float(v)) for k, v in zip("xyz", (x, y, z), strict=True)},
                **{f"dimensions.{k}": two(v) for k, v in zip("xyz", (width, length, height), strict=True)},
                "cuboids.sensor_id": np.array([0, 1]),
            },
        )
        Image.new("RGB", (120, 66)).save(folder / "camera" / "front_camera" / f"{n:02d}.jpg")
    return folder
