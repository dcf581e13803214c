"""One bag as sweeps: clouds with their partners in time, places and poses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.odometry import OdometryConfig, lidar_odometry
from pc3d.data.points import load_points
from pc3d.data.readers.bag.extract import Extract, extract
from pc3d.data.readers.bag.files import BagPath
from pc3d.data.readers.bag.matching import Partners, nearest
from pc3d.data.readers.bag.names import topic_names
from pc3d.data.readers.bag.opened import Bag
from pc3d.data.readers.bag.options import KISS_ICP, NONE, BagOptions
from pc3d.data.readers.bag.poses import PoseSource, pose_source
from pc3d.data.readers.bag.remarks import Remarks
from pc3d.data.readers.bag.rig import Rig
from pc3d.data.readers.bag.scan import Scan, Track, scan
from pc3d.data.readers.bag.transforms import TransformTree
from pc3d.data.readers.extraction import extracted_format
from pc3d.data.records import Camera, Float64, Lidar, Sweep
from pc3d.findings import Finding
from pc3d.geometry.rigid import invert_SE3

_ROAD = 0.4
"""Metres above the road up to which points are thinned for odometry, as rings on it hold it back."""


@dataclass
class Setup:
    """What holds for all bags.

    Attributes:
        formats: LiDAR format of each topic of points; the first one leads.
        rig: cameras. base, fixed: frames of the vehicle and the world. poses: see `choose_poses`.
        given: fixed transforms of a file, which hold against those of the bags.
        remarks: what is counted while bags are read.
    """

    options: BagOptions
    formats: dict[str, str]
    rig: Rig
    base: str
    fixed: str
    poses: str
    given: TransformTree = field(default_factory=TransformTree)
    partners: dict[str, Partners] = field(default_factory=dict)
    remarks: Remarks = field(default_factory=Remarks)

    @property
    def lead(self) -> str:
        """The topic that sweeps are made of."""
        return next(iter(self.formats))

    @property
    def others(self) -> list[str]:
        """Topics that are joined to it."""
        return [*list(self.formats)[1:], *(camera.topic for camera in self.rig.cameras)]

    def findings(self) -> list[Finding]:
        """What was odd in the bags that were read."""
        matched = [finding for one in self.partners.values() for finding in one.findings()]
        return [*matched, *self.rig.findings, *self.remarks.findings()]


class Drive:
    """A bag that is read once.

    Args:
        statics: fixed transforms of an earlier bag, for those that this one lacks.

    Raises:
        DataError: the bag is damaged, or frames are not joined.
    """

    def __init__(self, path: BagPath, bag: Bag, setup: Setup, statics: TransformTree) -> None:
        self._path, self._bag, self._setup = path, bag, setup
        self._options = setup.options
        # Of all topics of the bag, so that a folder of an earlier extraction is never another topic's.
        self._folders = topic_names(bag.kinds)
        self._lidar_names = topic_names(setup.formats)
        if bag.packed_whole and self._options.extract is None:
            fail(
                "the files of the bag are compressed as wholes: a single message costs unpacking all of it",
                path.file,
                "write its frames out: --extract DIR",
            )
        infos = [camera.info for camera in setup.rig.cameras if isinstance(camera.info, str)]
        topic = setup.poses if setup.poses in bag.kinds else ""
        sensors = [setup.lead, *setup.others]
        self._scan: Scan = scan(bag, sensors, infos, topic, self._options)
        self.tree = self._scan.tree
        setup.remarks.overridden(path.scene, self.tree.override(setup.given))
        self.tree.borrow(statics)
        setup.remarks.see(path.scene, self._scan)
        self._poses: PoseSource = pose_source(setup.poses, self._scan, setup.fixed, setup.base, path.file)

    def sweeps(self) -> Iterator[Sweep]:
        """Ascending in time.

        Raises:
            DataError: a frame is not joined to the vehicle's; no sweep has a pose.
        """
        lead = self._scan.tracks[self._setup.lead]
        kept = self._kept(lead)
        if kept:
            self._mount(lead, lead.stamps[kept[0]])  # before anything is written
        files = self._files(kept)
        cameras = self._setup.rig.of_bag(self._scan, self._path.file) if self._setup.rig.cameras else {}
        partners = self._partners([lead.stamps[at] for at in kept])
        made = (self._sweep(n, at, partners, cameras, files) for n, at in enumerate(kept))
        yield from self._with_odometry(list(made)) if self._setup.poses == KISS_ICP else made
        if kept:
            self._setup.remarks.see_used(self._path.scene, self.tree, lead.stamps[kept[0]])

    def _kept(self, lead: Track) -> list[int]:
        """Which clouds become sweeps: in the wanted time, and with a pose near by."""
        first, last = (
            None if s is None else self._bag.start + round(1e9 * s)
            for s in (self._options.start, self._options.end)
        )
        wanted = [
            at
            for at, stamp in enumerate(lead.stamps)
            if (first is None or stamp >= first) and (last is None or stamp < last)
        ]
        kept = [at for at in wanted if self._poses.off(lead.stamps[at]) <= self._options.pose_tolerance]
        self._setup.remarks.without_pose(self._path.scene, len(wanted) - len(kept), len(wanted))
        if wanted and not kept:
            off = min(self._poses.off(lead.stamps[at]) for at in wanted)
            fail(
                f"no sweep has a pose of {self._setup.poses} within {self._options.pose_tolerance:g} s; the "
                f"nearest is {off:.3g} s away",
                self._path.file,
                f"--pose-tolerance SECONDS, --stamps log where clocks differ, or --poses {NONE}",
            )
        return kept

    def _partners(self, stamps: Sequence[int]) -> dict[str, list[int]]:
        """Which message of each further topic belongs to each sweep, -1 for none."""
        found = {}
        for topic in self._setup.others:
            there = self._scan.tracks[topic].stamps
            pairs = nearest(stamps, there, self._options.tolerance)
            counted = self._setup.partners.setdefault(topic, Partners(topic, self._options.tolerance))
            counted.see(stamps, there, pairs)
            found[topic] = pairs.tolist()
        return found

    def _is_key(self, number: int) -> bool:
        return number % self._options.key_every == 0

    def _sweep(
        self,
        number: int,
        at: int,
        partners: dict[str, list[int]],
        cameras: dict[str, tuple[Camera, str]],
        files: dict[str, Path],
    ) -> Sweep:
        lead = self._scan.tracks[self._setup.lead]
        stamp, key = lead.stamps[at], self._is_key(number)
        world_SE3_ego = self._poses.at(stamp)
        ego_SE3_lidar = self._mount(lead, stamp)
        path, inner, layout = self._place(lead, at, files)
        images = [
            self._camera(topic, partners[topic][number], cameras[topic], files)
            for topic in cameras
            if key and partners[topic][number] >= 0
        ]
        token = f"{self._path.scene}/{number:06d}"
        return Sweep(
            token=token,
            scene=self._path.scene,
            timestamp=stamp // 1000,
            is_key_frame=key,
            path=path,
            lidar_format=layout,
            ego_SE3_lidar=ego_SE3_lidar,
            world_SE3_ego=world_SE3_ego,
            split="train",
            cameras=tuple(images),
            sample_token=token if key else "",
            key=inner,
            lidars=tuple(
                self._lidar(topic, partners[topic][number], stamp, world_SE3_ego @ ego_SE3_lidar, files)
                for topic in list(self._setup.formats)[1:]
                if partners[topic][number] >= 0
            ),
        )

    def _mount(self, track: Track, stamp: int) -> Float64:
        what = f"{track.topic} in {self._path.file}"
        return self.tree.at(self._setup.base, track.frame, stamp, what)

    def _place(self, track: Track, at: int, files: dict[str, Path]) -> tuple[Path, str, str]:
        """Path, key and format of the cloud `at` of a topic."""
        layout = self._setup.formats[track.topic]
        if self._options.extract is None:
            return self._path.file, track.keys[at], layout
        return files[track.keys[at]], "", extracted_format(layout)

    def _lidar(
        self, topic: str, at: int, stamp: int, world_SE3_lidar: Float64, files: dict[str, Path]
    ) -> Lidar:
        track = self._scan.tracks[topic]
        own = track.stamps[at]
        path, inner, layout = self._place(track, at, files)
        world_SE3_sensor = self._poses.at(own) @ self._mount(track, own)
        return Lidar(
            name=self._lidar_names[topic],
            path=path,
            lidar_format=layout,
            lidar_SE3_sensor=invert_SE3(world_SE3_lidar) @ world_SE3_sensor,
            key=inner,
            time_offset=1e-6 * (own // 1000 - stamp // 1000),
        )

    def _camera(self, topic: str, at: int, known: tuple[Camera, str], files: dict[str, Path]) -> Camera:
        track, (record, frame) = self._scan.tracks[topic], known
        placed = self._setup.rig.placed(topic, record, frame, self._scan, at)
        key = track.keys[at]
        placed = replace(placed, world_SE3_ego=self._poses.at(track.stamps[at]))
        if self._options.extract is None:
            return replace(placed, key=key)
        return replace(placed, path=files[key])

    def _files(self, kept: Sequence[int]) -> dict[str, Path]:
        """The extracted file of each message that a sweep needs, by key."""
        folder = self._options.extract
        if folder is None:
            return {}
        lead = self._scan.tracks[self._setup.lead]
        partners = {
            topic: nearest([lead.stamps[at] for at in kept], self._scan.tracks[topic].stamps, tolerance)
            for topic, tolerance in dict.fromkeys(self._setup.others, self._options.tolerance).items()
        }
        wanted = {(lead.topic, at) for at in kept}
        for topic, found in partners.items():
            every = 1 if topic in self._setup.formats else self._options.key_every
            wanted |= {(topic, at) for at in found.tolist()[::every] if at >= 0}
        messages = [
            self._extract(self._scan.tracks[topic], at, folder.resolve()) for topic, at in sorted(wanted)
        ]
        return extract(self._bag, messages, [lead.topic, *partners], self._path.file)

    def _extract(self, track: Track, at: int, folder: Path) -> Extract:
        stamp = track.stamps[at]
        stem = folder / self._path.scene / self._folders[track.topic] / f"{stamp:019d}"
        return Extract(track.keys[at], stem, stamp // 1000, self._setup.formats.get(track.topic, ""))

    def _with_odometry(self, sweeps: list[Sweep]) -> Iterator[Sweep]:
        """The sweeps with poses by KISS-ICP; images and further LiDARs keep the pose of their sweep."""
        if not sweeps:
            return
        mount = sweeps[0].ego_SE3_lidar
        height = float(mount[2, 3])
        config = OdometryConfig(ground_below=_ROAD - height) if height > 2 * _ROAD else OdometryConfig()
        clouds = (
            (load_points(one.path, one.lidar_format, one.token, one.key, one.timestamp), None)
            for one in sweeps
        )
        for one, pose in zip(sweeps, lidar_odometry(clouds, config), strict=True):
            world_SE3_ego = mount @ pose @ invert_SE3(one.ego_SE3_lidar)
            images = tuple(replace(camera, world_SE3_ego=world_SE3_ego) for camera in one.cameras)
            yield replace(one, world_SE3_ego=world_SE3_ego, cameras=images)
