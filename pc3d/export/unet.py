"""MinkUNets for the projects that have the same network: Pointcept, mmdetection3d, SLidR and others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pc3d.data.errors import fail
from pc3d.export.base import Exported, Options, Source, state_for
from pc3d.export.detectors import renamed
from pc3d.export.points import TargetPoints
from pc3d.models.lidar.minkunet import BOTTLENECK_DEPTHS, MinkUNet
from pc3d.models.lidar.published.kernels import (
    swap_axes,
    to_minkowski,
    to_spconv_1,
    to_spconv_pointwise,
    to_torchsparse,
)
from pc3d.models.lidar.published.unet import UNetNames
from pc3d.ops.voxelize import VoxelGrid

STEM = "stem.0.conv.weight"


@dataclass(frozen=True)
class UNetTarget:
    """The MinkUNet of a project.

    Attributes:
        name: of the project. names: of its modules. prefix: before them.
        layout: our kernels in its library's layout; one of size 1 is (out, in).
        leaf: what a kernel's tensor is called.
        stem: sizes of the stem's kernels; None: any.
        points: what its data set feeds; None: what the encoder reads.
        eps: of its norms. widen: what widens on the way down.
        bottleneck: whether it has the bottleneck blocks of depths 50 and 101.
        cylinder: whether it has cylinder voxels.
        sizes: depth and widths where it has no others.
    """

    name: str
    names: UNetNames
    layout: Callable[[Tensor], Tensor]
    snippet: Callable[[UNetShape, TargetPoints], str]
    prefix: str = ""
    leaf: str = "kernel"
    stem: tuple[int, ...] | None = (3, 3)
    points: str | None = None
    eps: float = 1e-5
    widen: str = "blocks"
    bottleneck: bool = False
    cylinder: bool = False
    sizes: tuple[int, tuple[int, ...]] | None = None
    notes: tuple[str, ...] = ()

    def export(self, source: Source, options: Options) -> Exported:
        """A MinkUNet by the project's names.

        Raises:
            DataError: its network cannot be equal, and why.
        """
        encoder = self._checked(source)
        points = options.points or self._points(encoder, source)
        state, notes = state_for(source, self.eps, options, self.name)
        try:
            state[STEM], done = points.fold(state[STEM], encoder.inputs, source.columns)
        except ValueError as error:
            fail(str(error), source.path, "give --points with all columns that it reads")
        left_out = {**source.others, "bev_head": "the target's network has no BEV map"}
        state = {name: tensor for name, tensor in state.items() if not name.startswith("bev_head.")}
        ours_to_theirs = {f"{self.prefix}{theirs}": ours for theirs, ours in self.names.modules().items()}
        kernels = {name for name, tensor in state.items() if tensor.ndim in (2, 5)}
        laid_out = {name: self.layout(t) if name in kernels else t for name, t in state.items()}
        tensors = {}
        for (ours, _), (theirs, tensor) in zip(
            laid_out.items(), renamed(laid_out, ours_to_theirs).items(), strict=True
        ):
            module = theirs.rpartition(".")[0]
            tensors[f"{module}.{self.leaf}" if ours in kernels else theirs] = tensor
        snippet = self.snippet(UNetShape.of(encoder), points)
        return Exported(tensors, snippet, left_out, (*done, *notes, *self.notes))

    def _points(self, encoder: MinkUNet, source: Source) -> TargetPoints:
        if self.points is not None:
            return TargetPoints.parse(self.points)
        read = [source.columns[c] for c in encoder.inputs.columns]
        return TargetPoints(tuple(read), (1.0,) * len(read))

    def _checked(self, source: Source) -> MinkUNet:
        encoder = source.network
        if not isinstance(encoder, MinkUNet):
            kind = type(encoder).__name__
            fail(
                f"the network is a {kind}, the target's a MinkUNet",
                source.path,
                "choose openpcdet or mmdet3d for SECOND and PointPillars",
            )
        for wrong, remedy in self._differences(encoder, source):
            fail(wrong, source.path, remedy)
        return encoder

    def _differences(self, encoder: MinkUNet, source: Source) -> list[tuple[str, str]]:
        """What the network has and the target's has not, and what to train instead."""
        found = []
        depth = depth_of(source)
        if depth in BOTTLENECK_DEPTHS and not self.bottleneck:
            why = f"depth {depth} has bottleneck blocks, and those of {self.name} have other widths"
            found.append((why, "train a depth of 18 or 34"))
        shape = UNetShape.of(encoder)
        if self.stem is not None and shape.kernels != self.stem:
            why = f"the stem has convolutions of {shape.kernels}, that of {self.name} of {self.stem}"
            found.append((why, f"train it with stem_kernels = {list(self.stem)}"))
        widen = source.config.get("widen", "blocks")
        if widen != self.widen and shape.widens:
            why = f"widths change in `{widen}`, those of {self.name} in `{self.widen}` (setting `widen`)"
            found.append((why, f'train it with widen = "{self.widen}"'))
        if encoder.inputs.grid.kind == "cylinder" and not self.cylinder:
            why = f"the voxels are those of a cylinder, and {self.name} has cubes"
            found.append((why, 'train it with voxel = "cubic"'))
        have = (depth, shape.widths)
        if self.sizes is not None and have != self.sizes:
            why = f"{self.name} has depth {self.sizes[0]} with widths {self.sizes[1]} only, this one {have}"
            found.append((why, f"train depth = {self.sizes[0]}, widths = {list(self.sizes[1])}"))
        return found


@dataclass(frozen=True)
class UNetShape:
    """Sizes of a MinkUNet.

    Attributes:
        stem: channels of the stem. kernels: sizes of its convolutions.
        widths: of the eight levels, as the setting has them. blocks: of each level.
        voxel: how it cuts space.
    """

    stem: int
    kernels: tuple[int, ...]
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    voxel: VoxelGrid

    @classmethod
    def of(cls, encoder: MinkUNet) -> UNetShape:
        """Read from the weights."""
        shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
        first = ".blocks.0.conv1.norm.weight"
        levels = [f"{side}.{i}" for side in ("down", "up") for i in range(4)]
        stem = [shape for name, shape in shapes.items() if name.startswith("stem.") and len(shape) == 5]
        return cls(
            stem[0][0],
            tuple(shape[1] for shape in stem),
            tuple(shapes[f"{level}{first}"][0] for level in levels),
            tuple(
                sum(
                    name.startswith(f"{level}.blocks.") and name.endswith("conv1.norm.weight")
                    for name in shapes
                )
                for level in levels
            ),
            encoder.inputs.grid,
        )

    @property
    def widens(self) -> bool:
        """Whether a level on the way down changes the width, so that it matters where it does."""
        return len({self.stem, *self.widths[:4]}) > 1


def depth_of(source: Source) -> int:
    """The setting `depth` of a MinkUNet."""
    return int(source.config.get("depth", 34))


def spconv_2(weight: Tensor) -> Tensor:
    """Our kernel for spconv 2 over x, y, z."""
    return to_spconv_pointwise(weight) if weight.ndim == 2 else swap_axes(weight)


def spconv_as_1(weight: Tensor) -> Tensor:
    """`spconv_2` as a loader expects it that takes every kernel for one of spconv 1.x, and permutes it."""
    return to_spconv_1(spconv_2(weight))


LAYOUTS = {
    "spconv 2": spconv_2,
    "spconv 1": spconv_as_1,
    "torchsparse": to_torchsparse,
    "MinkowskiEngine": to_minkowski,
}
