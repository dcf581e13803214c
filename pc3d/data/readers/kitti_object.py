"""KITTI object: single frames with boxes, shuffled over the drives that they were taken from."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail
from pc3d.data.readers.image_folders import image_of, image_size
from pc3d.data.readers.kitti_calibration import Calibration
from pc3d.data.readers.kitti_labels import read_boxes
from pc3d.data.readers.kitti_rig import EGO_SE3_LIDAR, FRAMES, LICENSE, rectified_camera
from pc3d.data.readers.kitti_times import number_scans
from pc3d.data.readers.parts import Parts, nearly_named
from pc3d.data.readers.text_files import read_lines
from pc3d.data.records import Boxes, Camera, Float64, Sweep
from pc3d.findings import Finding

PARTS = ("training", "testing")
CAMERAS = ("image_2", "image_3")
LISTS = {"training": ("train", "val"), "testing": ("test",)}
"""The lists of `ImageSets/` that are read; `trainval` is the first two."""

_CALIBRATION = "extract the calibration archive (data_object_calib) into the root"
_FOLDERS = ("velodyne", "calib", "label_2", *CAMERAS)
_OTHERS = ("image_0", "image_1", "planes", "velodyne_reduced", "prev_2", "prev_3")


def detect(root: Path) -> str | None:
    """Why a folder is of this format, None where it is not."""
    part = next(
        (p for p in PARTS if (root / p / "velodyne").is_dir() and (root / p / "calib").is_dir()), None
    )
    return None if part is None else f"{part}/velodyne and {part}/calib"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the reader: it has none."""


class KittiObjectReader:
    """Reads the frames of the KITTI object benchmark, `training/` and, where it is there, `testing/`.

    The frames are of no drive: each is a scene of its own, so that none has a neighbour, and its time is
    invented (its number, in seconds). Frames of `training/` are of the split in whose list of `ImageSets/`
    they are, without lists of `train`; those of `testing/` of `test`. Boxes are of what `image_2` sees.

    Args:
        root: folder with `training/{velodyne,calib}` and, where there are some, `image_2`, `image_3`,
            `label_2`.

    A frame without a sound calibration file is left out, as are labels and images that cannot be read.

    Raises:
        DataError: no frame, or none with a calibration; scans without a number; a broken list.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root).resolve()
        self.findings: list[Finding] = []
        self._scans = {
            part: list(number_scans(list((self._root / part / "velodyne").glob("*.bin"))).values())
            for part in PARTS
        }
        if not any(self._scans.values()):
            fail("no scan in training/velodyne", self._root, "name the folder that holds training/velodyne")
        self._splits = {part: self._split_of_frames(part) for part in PARTS}
        notes = [note for part in PARTS for note in self._lacking(part)]
        for part in PARTS:
            self._find_beside(part)
        self.findings += nearly_named([self._root / part for part in PARTS], _FOLDERS, _OTHERS)
        self.metadata: dict[str, Any] = {
            "dataset": "kitti_object",
            "root": str(self._root),
            "classes": load_class_set("kitti").to_dict(),
            "labelled": ["image_2"],
            "frames": FRAMES,
            "notes": [
                "poses are the identity: single frames of no drive, each a scene of its own",
                "times are invented: the number of a frame, in seconds",
                "boxes are of what image_2 sees: what lies elsewhere is not labelled, and no background",
                "intrinsics: pixel centres at integer + 0.5",
                *notes,
            ],
            "license": LICENSE,
        }

    def __len__(self) -> int:
        return sum(map(len, self._scans.values()))

    def sweeps(self) -> Iterator[Sweep]:
        """The frames of `training`, then those of `testing`, by number."""
        frames = Parts("frames", "frames", needed=True, remedy=_CALIBRATION)
        labels, images = Parts("label files", "label files"), Parts("images", "images")
        for part, scans in self._scans.items():
            for scan in scans:
                read = partial(self._sweep, part, scan, labels, images)
                if (sweep := frames.read(f"{part}/{scan.stem}", read)) is not None:
                    yield sweep
        self.findings += [*frames.findings(), *labels.findings(), *images.findings()]

    def _sweep(self, part: str, scan: Path, labels: Parts, images: Parts) -> Sweep:
        token = f"{part}/{scan.stem}"
        time = 1_000_000 * int(scan.stem)
        calibration = Calibration(self._root / part / "calib" / f"{scan.stem}.txt", _CALIBRATION)
        rect_SE3_velo = calibration.rectification("R0_rect") @ calibration.transform("Tr_velo_to_cam")
        cameras = [
            images.read(f"{token} {name}", partial(_camera, path, name, calibration, rect_SE3_velo))
            for name in CAMERAS
            if (path := image_of(self._root / part / name, scan.stem)) is not None
        ]
        return Sweep(
            token=token,
            scene=f"{part}_{scan.stem}",
            timestamp=time,
            is_key_frame=True,
            path=scan,
            lidar_format="kitti",
            ego_SE3_lidar=EGO_SE3_LIDAR,
            world_SE3_ego=np.eye(4),
            split=self._splits[part].get(scan.stem, "none"),
            cameras=tuple(replace(camera, timestamp=time) for camera in cameras if camera is not None),
            boxes=self._boxes(part, scan.stem, rect_SE3_velo, labels),
            sample_token=token,
        )

    def _boxes(self, part: str, stem: str, rect_SE3_velo: Float64, labels: Parts) -> Boxes | None:
        path, token = self._root / part / "label_2" / f"{stem}.txt", f"{part}/{stem}"
        return labels.read(token, partial(read_boxes, path, rect_SE3_velo, token)) if path.is_file() else None

    def _split_of_frames(self, part: str) -> dict[str, str]:
        """Split of each frame."""
        stems = [scan.stem for scan in self._scans[part]]
        lists = {
            name: path for name in LISTS[part] if (path := self._root / "ImageSets" / f"{name}.txt").is_file()
        }
        if part == "testing" or not lists:
            return dict.fromkeys(stems, LISTS[part][0])
        split_of: dict[str, str] = {}
        for name, path in lists.items():
            for stem in filter(None, map(str.strip, read_lines(path, "list of frames", "write it again"))):
                if split_of.setdefault(stem, name) != name:
                    fail(
                        f"frame {stem} is in the lists {split_of[stem]} and {name}",
                        path,
                        "leave it in one of them",
                    )
        self._find_in_no_list(stems, split_of)
        return split_of

    def _find_in_no_list(self, stems: list[str], split_of: dict[str, str]) -> None:
        left = [stem for stem in stems if stem not in split_of]
        if left:
            text = f"{len(left)} of {len(stems)} frames are in no list of ImageSets, first: {left[0]}"
            remedy = "add them to train.txt or val.txt: now they are in split 'none'"
            self.findings.append(Finding("splits", "warning", text, remedy))

    def _lacking(self, part: str) -> list[str]:
        """Notes on images that frames lack; a finding where others have them."""
        notes = []
        for name in CAMERAS:
            images = Parts("images", f"images of {part}/{name}")
            folder, scans = self._root / part / name, self._scans[part]
            lacking = sum(not images.count(s.stem, image_of(folder, s.stem) is not None) for s in scans)
            if lacking:
                notes.append(f"{lacking} of {len(scans)} frames of {part} have no {name}")
            self.findings += images.findings()
        return notes

    def _find_beside(self, part: str) -> None:
        """Find frames without labels where others have some, and labels and images without a scan."""
        stems = {scan.stem for scan in self._scans[part]}
        beside: Counter[str] = Counter()
        for name in ("label_2", *CAMERAS):
            found = {path.stem for path in (self._root / part / name).glob("*.*")}
            beside[name] = len(found - stems)
            if name == "label_2" and found and (left := stems - found):
                text = f"{len(left)} of {len(stems)} frames of {part} have no label file, first: {min(left)}"
                remedy = "extract the label archive (data_object_label_2) again"
                self.findings.append(Finding("labels", "warning", text, remedy))
        if extra := ", ".join(f"{count} of {name}" for name, count in beside.items() if count):
            text = f"files of {part} have no scan beside them: {extra}"
            remedy = "extract the scans (data_object_velodyne) too, or leave them: they are not indexed"
            self.findings.append(Finding("scans", "warning", text, remedy))


def _camera(path: Path, name: str, calibration: Calibration, rect_SE3_velo: Float64) -> Camera:
    projection = calibration.projection(f"P{name[-1]}")
    return rectified_camera(name, path, image_size(path), projection, rect_SE3_velo)
