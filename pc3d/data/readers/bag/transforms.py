"""The tree of frames (tf): where a frame is in another, at a time."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pc3d.data.errors import did_you_mean, fail
from pc3d.data.readers.bag.trajectory import Trajectory, is_pose
from pc3d.data.records import Float64
from pc3d.geometry.rigid import invert_SE3

_KEYS = {"parent", "child", "translation", "rotation"}
_APART = 1e-3
"""Metres, and of a rotation: what two ways between two frames may differ by."""
_FORM = "a list of {parent: F, child: F, translation: [x, y, z], rotation: [x, y, z, w]}"


def frame_name(name: str) -> str:
    """A frame as tf2 writes it; ROS 1 may put a slash before it."""
    return name.removeprefix("/")


class TransformTree:
    """Transforms between frames, fixed ones and those that change."""

    def __init__(self) -> None:
        self._edges: dict[tuple[str, str], Trajectory] = {}
        self._fixed: set[tuple[str, str]] = set()
        self._broken: set[str] = set()
        self._changed: set[tuple[str, str]] = set()
        self._borrowed: set[tuple[str, str]] = set()
        self._used: set[tuple[str, str]] = set()
        self._routes: dict[tuple[str, str], list[tuple[str, str, bool]] | None] = {}

    def add_message(self, message: Any, static: bool) -> None:
        """The transforms of a TFMessage."""
        for one in message.transforms:
            stamp = one.header.stamp
            time = int(stamp.sec) * 10**9 + int(stamp.nanosec)
            t, q = one.transform.translation, one.transform.rotation
            parent, child = frame_name(one.header.frame_id), frame_name(one.child_frame_id)
            self.add(parent, child, time, (t.x, t.y, t.z), (q.x, q.y, q.z, q.w), static)

    def add(
        self,
        parent: str,
        child: str,
        time: int,
        translation: tuple[float, ...],
        xyzw: tuple[float, ...],
        static: bool,
    ) -> None:
        """`parent_SE3_child` at a time (ns); a static one holds always, the last that is said counts.

        One that holds no rotation is left out, and named where a way is missing.
        """
        edge = (parent, child)
        if not is_pose(translation, xyzw):
            self._broken.add(f"{parent} to {child}")
            return
        if edge in self._fixed and not self._edges[edge].says(translation, xyzw):
            self._changed.add(edge)
        if static or edge not in self._edges:
            self._edges[edge] = Trajectory(f"transform from {child} to {parent}")
        if static:
            self._fixed.add(edge)
        elif edge in self._fixed:
            return
        self._edges[edge].add(0 if static else time, translation, xyzw)
        self._routes.clear()

    def borrow(self, other: TransformTree) -> None:
        """Take the fixed transforms of another tree between frames that are not joined here."""
        for edge in sorted(other._fixed):
            if not self.knows(*edge):
                self._place(edge, other)
                self._borrowed.add(edge)

    def override(self, other: TransformTree) -> list[tuple[str, str]]:
        """Take the fixed transforms of another tree, which hold against what is here.

        Where its frames are joined here already, the link next to the child goes, so that one way is left.

        Returns:
            Links (parent, child) that went.
        """
        gone: list[tuple[str, str]] = []
        placed: set[tuple[str, str]] = set()
        for parent, child in sorted(other._fixed):
            while route := self._route(parent, child):
                own = [(p, c) for p, c, _ in route if (p, c) not in placed]
                if not own:
                    break
                gone.append(own[-1])
                self._remove(own[-1])
            self._place((parent, child), other)
            placed.add((parent, child))
        return gone

    def _place(self, edge: tuple[str, str], other: TransformTree) -> None:
        self._edges[edge] = other._edges[edge]
        self._fixed.add(edge)
        self._routes.clear()

    def _remove(self, edge: tuple[str, str]) -> None:
        del self._edges[edge]
        for some in (self._fixed, self._changed, self._borrowed):
            some.discard(edge)
        self._routes.clear()

    @property
    def borrowed(self) -> list[str]:
        """Links of another tree that a way needed."""
        return [f"{parent} to {child}" for parent, child in sorted(self._borrowed & self._used)]

    @property
    def changed(self) -> list[str]:
        """Fixed links that a way needed and that the messages say in several ways."""
        return [f"{parent} to {child}" for parent, child in sorted(self._changed & self._used)]

    @property
    def contradictions(self) -> dict[str, int]:
        """Poses of moving links that a way needed, of a time at which there is another: how many."""
        found = {edge: self._edges[edge].contradictions for edge in self._used - self._fixed}
        return {f"{parent} to {child}": count for (parent, child), count in sorted(found.items()) if count}

    @property
    def has_static(self) -> bool:
        """Whether a transform is fixed."""
        return bool(self._fixed)

    @property
    def frames(self) -> list[str]:
        """All frames, sorted."""
        return sorted({frame for edge in self._edges for frame in edge})

    def knows(self, target: str, source: str) -> bool:
        """Whether there is a way between two frames."""
        return target == source or self._route(target, source) is not None

    def moves(self, target: str, source: str) -> bool:
        """Whether something between two frames changes with time."""
        return any(not edge.still for edge in self._changing(target, source))

    def at(self, target: str, source: str, time: int, what: str) -> Float64:
        """(4, 4) `target_SE3_source` at a time (ns).

        Raises:
            DataError: there is no way between the frames; names those that exist. `what` needs it.
        """
        if target == source:
            return np.eye(4)
        route = self._route(target, source)
        if route is None:
            fail(*self._no_way(target, source, what))
        self._used.update((parent, child) for parent, child, _ in route)
        return self._along(route, time)

    def _along(self, route: list[tuple[str, str, bool]], time: int) -> Float64:
        result = np.eye(4)
        for parent, child, down in route:
            step = self._edges[parent, child].at(time)
            result = result @ (step if down else invert_SE3(step))
        return result

    def ambiguous(self, time: int) -> list[str]:
        """Links that a way needed and that other links contradict at a time (ns): a frame of two parents."""
        found = []
        for edge in sorted(self._used):
            other = self._search(*edge, without=edge)
            if other is None:
                continue
            if np.abs(self._along(other, time) - self._edges[edge].at(time)).max() > _APART:
                by = [frame for link in other for frame in link[:2] if frame not in edge]
                found.append(f"{edge[0]} to {edge[1]}" + (f" (by {by[0]} otherwise)" if by else ""))
        return found

    def off(self, target: str, source: str, time: int) -> float:
        """Seconds to the farthest of the samples that `at` uses, 0 where all is fixed."""
        return max((edge.off(time) for edge in self._changing(target, source)), default=0.0)

    def _changing(self, target: str, source: str) -> list[Trajectory]:
        route = self._route(target, source) or []
        return [self._edges[p, c] for p, c, _ in route if (p, c) not in self._fixed]

    def _route(self, target: str, source: str) -> list[tuple[str, str, bool]] | None:
        """Edges (parent, child, whether it is walked downwards) from target to source."""
        if (target, source) not in self._routes:
            self._routes[target, source] = self._search(target, source)
        return self._routes[target, source]

    def _search(
        self, target: str, source: str, without: tuple[str, str] | None = None
    ) -> list[tuple[str, str, bool]] | None:
        steps: dict[str, list[tuple[str, str, str, bool]]] = {}
        for parent, child in (edge for edge in self._edges if edge != without):
            steps.setdefault(parent, []).append((child, parent, child, True))
            steps.setdefault(child, []).append((parent, parent, child, False))
        routes: dict[str, list[tuple[str, str, bool]]] = {target: []}
        waiting = deque([target])
        while waiting:
            frame = waiting.popleft()
            for following, parent, child, down in steps.get(frame, []):
                if following not in routes:
                    routes[following] = [*routes[frame], (parent, child, down)]
                    waiting.append(following)
        return routes.get(source)

    def _no_way(self, target: str, source: str, what: str) -> tuple[str, str, str]:
        frames = self.frames
        lost = [frame for frame in (target, source) if frame not in frames]
        near = "".join(did_you_mean(frame, frames) for frame in lost)
        there = ", ".join(frames) if frames else "none"
        if self._broken:
            there += f"; transforms that hold no pose: {', '.join(sorted(self._broken))}"
        return (
            f"there is no transform from {source!r} to {target!r}{near}",
            f"{what}; frames of the bag: {there}",
            f"give it: --transforms FILE (YAML, {_FORM}), or name another --base-frame",
        )


def read_transforms(path: Path, tree: TransformTree) -> None:
    """Add the fixed transforms of a YAML file to a tree.

    Raises:
        DataError: the file is missing, or is no such list.
    """
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        fail(f"the transforms cannot be read: {' '.join(str(error).split())}", path, f"write {_FORM}")
    if not isinstance(rows, list) or not rows:
        fail("the file holds no list of transforms", path, f"write {_FORM}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or set(row) != _KEYS:
            fail(f"transform {number} is {row!r}", path, f"write {_FORM}")
        parent, child = frame_name(str(row["parent"])), frame_name(str(row["child"]))
        translation, rotation = _numbers(row, "translation", 3, path), _numbers(row, "rotation", 4, path)
        tree.add(parent, child, 0, translation, rotation, static=True)


def _numbers(row: dict[str, Any], key: str, count: int, path: Path) -> tuple[float, ...]:
    values = row[key]
    fits = isinstance(values, list) and len(values) == count
    if not fits or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in values):
        fail(f"{key} is {values!r}, expected {count} numbers", path, f"write {_FORM}")
    return tuple(float(value) for value in values)
