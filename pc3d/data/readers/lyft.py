"""Lyft Level 5 Perception: the tables of nuScenes with differences."""

from __future__ import annotations

import argparse
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.readers.json_tables import Row
from pc3d.data.readers.nuscenes import NuScenesReader
from pc3d.data.readers.nuscenes_boxes import AnnotationTable
from pc3d.data.readers.nuscenes_splits import listed_splits, split_of_scenes
from pc3d.data.readers.nuscenes_tables import LYFT_FOLDERS, first_folder
from pc3d.data.readers.text_files import read_lines
from pc3d.data.records import Float64, Lidar
from pc3d.findings import Finding
from pc3d.geometry.rigid import compose_SE3, invert_SE3

POINTS = "bin:x,y,z,intensity/255,_"
"""The fifth number is said to be the ring; it is 1 everywhere in the files that were seen."""
CUT_SHORT = "host-a011_lidar1_1233090652702363606.bin"
"""Published with two numbers too few."""
_DEPTHS = ("*", "*/*")


def detect(root: Path) -> str | None:
    """Why a folder is of this format, None where it is not."""
    found = [name for name in _versions(root) if first_folder(root / name) in LYFT_FOLDERS]
    return f"{found[0]}/sample_data.json, whose files are in lidar/ and images/" if found else None


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the reader, by the names of its arguments."""
    parser.add_argument("--version", help="folder of the tables, e.g. v1.01-train (default: the only one)")
    parser.add_argument(
        "--lidar", default="LIDAR_TOP", help="channel of the main LiDAR (default %(default)s)"
    )
    parser.add_argument(
        "--one-lidar", action="store_true", help="without the other LiDARs (default: their points are joined)"
    )


def _versions(root: Path) -> list[str]:
    """Folders of tables below a root."""
    found = (path.parent for depth in _DEPTHS for path in root.glob(f"{depth}/sample_data.json"))
    return sorted(path.relative_to(root).as_posix() for path in found)


def _folders(base: Path, tables: str) -> dict[str, str]:
    """What the folders of files are called in `base`; of the download from Kaggle `train_lidar` beside the
    tables `train_data`."""
    found = {}
    for name in LYFT_FOLDERS:
        for called in (name, f"{tables.removesuffix('_data')}_{name}"):
            if name not in found and (base / called).is_dir():
                found[name] = called
    return found


class LyftReader(NuScenesReader):
    """Reads a data set root of Lyft Level 5 Perception.

    Every sample is a key frame, at 5 Hz. The points of the front LiDARs, which some cars have, are joined to
    those of the top one, each moved by the poses of both times. Splits come from `splits.json` beside the
    tables, else from `train.txt` and `val.txt` of scene names in the root or beside the tables (there is no
    official split), else all scenes are of `train`, or of `test` where the folder is called so.

    Args:
        root: folder with the tables, `lidar/` and `images/`, or with the folder of a version that has them;
            or with `train_data`, `train_lidar` and `train_images`.
        version: folder of the tables; None takes the only one.
        lidar: channel of the LiDAR whose frame is the sweep's.
        one_lidar: leave the other LiDARs out.

    Raises:
        DataError: as `NuScenesReader`; several folders of tables; a scene in two lists.
    """

    _dataset = "lyft"

    def __init__(
        self, root: Path, version: str | None = None, lidar: str = "LIDAR_TOP", one_lidar: bool = False
    ) -> None:
        self._joins = not one_lidar
        super().__init__(root, version, lidar)
        # Only what differs from the notes of nuScenes.
        self.metadata["frames"] = {"lidar": "of the main LiDAR, z up", "ego": "x forward, y left, z up"}
        self.metadata["license"] = "CC BY-NC-SA 4.0"
        self.metadata["notes"] += [
            "boxes do not state how many points they hold",
            "the fifth number of a point is not read",
            *["the points of all LiDARs are joined"] * (not one_lidar),
        ]

    def _version_folder(self, version: str | None) -> Path:
        found = _versions(self._root)
        chosen = [
            name for name in found if version is None or name.split("/")[-1] == version or name == version
        ]
        if len(chosen) != 1:
            what = f"no folder of tables {version!r}" if version else f"{len(found)} folders of tables"
            remedy = (
                f"use --version {' or '.join(found)}" if found else "name the folder that holds the tables"
            )
            fail(what, self._root, remedy)
        if first_folder(self._root / chosen[0]) in ("samples", "sweeps"):
            what = "the files of these tables are in samples/ and sweeps/, as those of nuScenes are"
            fail(what, self._root / chosen[0], "index it as --format nuscenes")
        return self._root / chosen[0]

    def _read_sample_data(self) -> None:
        super()._read_sample_data()
        tables = self._tables.folder
        self._files = next((f for f in (tables.parent, self._root) if _folders(f, tables.name)), self._root)
        renamed = _folders(self._files, tables.name)
        for rows in (*self._sweeps.values(), *self._cameras.values(), *self._further.values()):
            for row in rows:
                folder, slash, rest = row["filename"].partition("/")
                row["filename"] = renamed.get(folder, folder) + slash + rest

    def _splits(self) -> dict[str, str]:
        folder, names = self._tables.folder, list(self._scene_names.values())
        if listed_splits(folder) is not None:
            return split_of_scenes(folder, names)
        lists = [path for split in ("train", "val") if (path := self._list_of(split)) is not None]
        if not lists:
            return dict.fromkeys(names, "test" if "test" in folder.name else "train")
        split_of: dict[str, str] = {}
        for path in lists:
            for name in filter(None, map(str.strip, read_lines(path, "list of scenes", "write it again"))):
                if split_of.setdefault(name, path.stem) != path.stem:
                    fail(f"scene {name!r} is in two lists", path, "leave it in one of them")
        return split_of

    def _list_of(self, split: str) -> Path | None:
        places = (self._root, self._tables.folder.parent, self._tables.folder)
        return next((path for place in places if (path := place / f"{split}.txt").is_file()), None)

    def _read_annotations(self) -> AnnotationTable:
        """Test sets have no table of annotations; tables of a part have tracks that lead out of it."""
        if not self._tables.path("sample_annotation").is_file():
            return AnnotationTable()
        table = AnnotationTable.read(self._tables, part=True)
        if table.beyond:
            text = f"{table.beyond} links of tracks lead to annotations that are not there"
            remedy = "none for a part of the data set: velocities at its ends are one-sided or unknown"
            self.findings.append(Finding("tracks", "warning", text, remedy))
        return table

    def _format(self, row: Row) -> str:
        if Path(row["filename"]).name == CUT_SHORT:
            text = f"{CUT_SHORT} is published two numbers short: its last point is left out"
            self.findings.append(Finding("broken file", "warning", text, "none"))
            return f"{POINTS};tail=drop"
        return POINTS

    def _lidars(self, row: Row, world_SE3_lidar: Float64) -> tuple[Lidar, ...]:
        lidars = []
        for other in self._further.get(row["sample_token"], ()):
            channel, _, ego_SE3_sensor, _ = self._sensors[other["calibrated_sensor_token"]]
            world_SE3_sensor = compose_SE3(self._ego_pose(other), ego_SE3_sensor)
            lidars.append(
                Lidar(
                    name=channel,
                    path=self._files / other["filename"],
                    lidar_format=self._format(other),
                    lidar_SE3_sensor=compose_SE3(invert_SE3(world_SE3_lidar), world_SE3_sensor),
                    time_offset=1e-6 * (other["timestamp"] - row["timestamp"]),
                )
            )
        return tuple(sorted(lidars, key=lambda lidar: lidar.name))
