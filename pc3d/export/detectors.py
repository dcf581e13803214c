"""SECOND and PointPillars for the detectors of OpenPCDet and mmdetection3d: what both need, and refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pc3d.data.errors import fail
from pc3d.export.base import Options, Source, check_left_out, required_points, state_for
from pc3d.export.points import TargetPoints, fold_offsets
from pc3d.models.heads.center_point import CenterHead
from pc3d.models.lidar.minkunet import MinkUNet
from pc3d.models.lidar.pointpillars import PointPillars
from pc3d.models.lidar.published.base import rename
from pc3d.models.lidar.published.detectors import FIRST, PILLARS
from pc3d.models.lidar.second import SECOND, STRIDE

EPS = 1e-3
"""Of the batch norms of both targets."""


@dataclass(frozen=True)
class Detector:
    """The backbone of a detector, checked, with its state by our names.

    Attributes:
        encoder: SECOND or PointPillars.
        state: for norms of epsilon `EPS` and the target's columns.
        points: those columns.
        notes, left_out: see `Exported`.
        head: see `Source`.
    """

    encoder: SECOND | PointPillars
    state: dict[str, Tensor]
    points: TargetPoints
    notes: tuple[str, ...]
    left_out: dict[str, str]
    head: CenterHead | None = None

    @property
    def map_stride(self) -> int:
        """Voxels along a side of a cell of the map."""
        return STRIDE if isinstance(self.encoder, SECOND) else self.encoder.backbone.stride

    @property
    def point_range(self) -> list[float]:
        """x, y, z lowest, then highest, in metres."""
        return [_plain(value) for value in self.encoder.inputs.grid.limits]

    @property
    def voxel_size(self) -> list[float]:
        """Along x, y, z in metres."""
        return [_plain(value) for value in self.encoder.inputs.grid.size]

    @property
    def cells(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self.encoder.inputs.grid.shape

    @property
    def flat_layers(self) -> int:
        """Layers of the sparse output before its height is collapsed; 1 for pillars."""
        backbone_in = self.state["backbone.levels.0.0.weight"].shape[1]
        return backbone_in // self.sparse_out

    @property
    def sparse_out(self) -> int:
        """Channels of what is collapsed, or of a pillar."""
        last = "flatten.norm.weight" if isinstance(self.encoder, SECOND) else "norm.weight"
        return len(self.state[last])

    @property
    def widths(self) -> list[int]:
        """Channels of the four sparse levels."""
        return [len(self.state[f"levels.{i}.0.norm.weight"]) for i in range(4)]

    @property
    def bev(self) -> dict[str, list[int]]:
        """`layers`, `widths`, `strides`, `up` (strides of the neck) and `necks` (its channels), by level."""
        levels = range(len(self.encoder.backbone.levels))
        convolutions = [
            [t for n, t in self.state.items() if n.startswith(f"backbone.levels.{i}.") and t.ndim == 4]
            for i in levels
        ]
        return {
            "layers": [len(level) - 1 for level in convolutions],
            "widths": [len(level[0]) for level in convolutions],
            "strides": [self.encoder.backbone.stride, *[2] * (len(levels) - 1)],
            "up": [2**i for i in levels],
            "necks": [len(self.state[f"backbone.necks.{i}.1.weight"]) for i in levels],
        }


def detector(source: Source, options: Options, target: str) -> Detector:
    """The backbone of a detector for `target`.

    Raises:
        DataError: it cannot be equal there, and why; or the target's points do not have what it reads.
    """
    encoder = _checked(source, options, target)
    points = required_points(source, options, target)
    _check_grid(encoder, source)
    state, notes = state_for(source, EPS, options, target)
    left_out = dict(source.others)
    if isinstance(encoder, SECOND) and encoder.point_source == "trilinear":
        left_out["point_head"] = "no point features in the target"
        state = {name: tensor for name, tensor in state.items() if not name.startswith("point_head.")}
    first = FIRST if isinstance(encoder, SECOND) else PILLARS
    own = len(encoder.inputs.columns)
    try:
        folded, done = points.fold(state[first][..., :own], encoder.inputs, source.columns)
    except ValueError as error:
        fail(str(error), source.path, "give --points with all columns that it reads, or train it without")
    if isinstance(encoder, PointPillars):
        folded = fold_offsets(state[first], folded, own, encoder.centre_z)
    state[first] = folded
    return Detector(encoder, state, points, (*done, *notes), left_out, source.head)


def _checked(source: Source, options: Options, target: str) -> SECOND | PointPillars:
    encoder = source.network
    if isinstance(encoder, MinkUNet):
        voxels = "cylinder voxels and " if encoder.inputs.grid.kind == "cylinder" else ""
        fail(
            f"the encoder is a MinkUNet: it has {voxels}no BEV backbone, and {target} has no such network",
            source.path,
            "choose mmdet3d-spconv, mmdet3d-torchsparse, mmdet3d-minkowski, pointcept, slidr, superflow or "
            "spvnas",
        )
    if not isinstance(encoder, SECOND | PointPillars):
        kind = type(encoder).__name__
        fail(f"{target} has no network like {kind}", source.path, "export a SECOND or PointPillars")
    if not isinstance(encoder, SECOND):
        return encoder
    if encoder.height_layout != "openpcdet":
        fail(
            f"the last strided convolution pads along z; that of {target} does not, and has an empty layer "
            "on top: other voxels would meet",
            source.path,
            'train it with height_layout = "openpcdet" in the `lidar` section',
        )
    if encoder.point_source == "trilinear":
        why = (
            "its point features come from the sparse levels (point_source trilinear), by a layer that no "
            "detector has; objectives that read points alone have left the 2D backbone as it was initialised"
        )
        check_left_out(source, options, "point_head", why)
    return encoder


def _check_grid(encoder: SECOND | PointPillars, source: Source) -> None:
    """Refuse grids of which the target would make other ones, or that its neck cannot bring together."""
    grid, inputs = encoder.grid, encoder.inputs.grid
    low, high = inputs.limits[:3], inputs.limits[3:]
    sides = [(b - a) / size for a, b, size in zip(low, high, inputs.size, strict=True)]
    for axis, side in zip("xyz", sides, strict=True):
        if abs(side - round(side)) > 1e-3:
            fail(
                f"the range along {axis} is {side:.4g} voxels, and the target rounds that where ours goes on",
                source.path,
                "train it with a range of whole voxels (`z_range`, `voxel_height`, `grid`)",
            )
    levels = len(encoder.backbone.levels)
    coarsest = 2 ** (levels - 1)
    if grid.rows % coarsest or grid.cols % coarsest:
        fail(
            f"the BEV map has {grid.rows} x {grid.cols} cells, which its coarsest level ({coarsest}) does "
            "not divide: the target's levels would have different sizes",
            source.path,
            f"train it with a grid of a multiple of {coarsest} cells",
        )


def require_widths(
    found: Detector, source: Source, target: str, known: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse widths that a target's network cannot be given.

    Args:
        known: widths of the levels and of the collapsed map, for each kind of blocks.

    Raises:
        DataError: says which ones it has.
    """
    assert isinstance(found.encoder, SECOND)
    have = (*found.widths, found.sparse_out)
    want = known[found.encoder.blocks]
    if have != want:
        fail(
            f"{target} has {found.encoder.blocks} blocks with channels {want[:4]} and {want[4]} only, "
            f"this network {have[:4]} and {have[4]}",
            source.path,
            f"train it with widths = {list(want[:4])}, height_channels = {want[4]}",
        )


def renamed(state: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, Tensor]:
    """The state by the names of a table from theirs to ours, in the order of the table's file.

    Raises:
        RuntimeError: a tensor has no name there.
    """
    back = {ours: theirs for theirs, ours in table.items()}
    for name in state:
        parts = name.split(".")
        if not any(".".join(parts[:n]) in back for n in range(len(parts), 0, -1)):
            raise RuntimeError(f"the target has no name for {name}")
    return rename(state, back)


def _plain(value: float) -> float:
    """Without what floating point adds to a round number of metres."""
    return round(float(value), 6)
