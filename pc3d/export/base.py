"""What a target says of itself, what it is given, and what it makes of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from pc3d.data.errors import fail
from pc3d.export.points import TargetPoints
from pc3d.models.heads.center_point import CenterHead

REMEDY_NORMS = "train it with {name} = {value:g} in the `lidar` section, or give --fold-eps: equal inference"


@dataclass(frozen=True)
class Options:
    """What the user says of an export.

    Attributes:
        points: columns that the target feeds its network with, None where not said.
        fold_eps: let the norms' scale take up another epsilon than the target's: inference is equal,
            training starts from another function.
        leave_out: parts of the network that may be left out, where that is no loss for the user.
        style: `centerpoint` or `voxelnet`, whose names a detector of mmdetection3d has; None: by the network.
    """

    points: TargetPoints | None = None
    fold_eps: bool = False
    leave_out: tuple[str, ...] = ()
    style: str | None = None


@dataclass(frozen=True)
class Source:
    """The network of a checkpoint.

    Attributes:
        path: of its file, for messages.
        network: in evaluation mode, weights loaded.
        config: what built it.
        columns: names of the columns of the points that it was trained on.
        others: parts of the file beside the network, and why they are not exported.
        head: the detection head that reads the network's map, where nothing stands between them.
        image_size: height and width of the images that it was trained on.
    """

    path: Path
    network: nn.Module
    config: Mapping[str, Any]
    columns: tuple[str, ...] = ("x", "y", "z", "intensity")
    others: Mapping[str, str] = field(default_factory=dict)
    head: CenterHead | None = None
    image_size: tuple[int, int] = (224, 448)


@dataclass(frozen=True)
class Exported:
    """A network in the target's terms.

    Attributes:
        tensors: by the target's names, in its layout.
        snippet: of the target's own config.
        left_out: parts that the target has no place for, and why.
        notes: what was folded into the weights, and what equality needs, a sentence each.
        write: writes the weights into a folder and gives their files, where `torch.save` does not do it.
    """

    tensors: dict[str, Tensor]
    snippet: str
    left_out: dict[str, str]
    notes: tuple[str, ...] = ()
    write: Callable[[Path], list[Path]] | None = None


class Wrap(Protocol):
    """What a target's file holds around its tensors."""

    def __call__(self, tensors: dict[str, Tensor]) -> Any: ...


@dataclass(frozen=True)
class Target:
    """A stack that weights go to.

    Attributes:
        title: what comes out, for `--help`.
        part: of a checkpoint that it takes: `lidar`, `image`, or the whole `model`.
        export: makes it.
        suffix: of the snippet's file. comment: what begins a comment in it.
        wrap: the tensors as its loader expects them.
        loading: how its loader takes the file, a sentence.
    """

    title: str
    part: str
    export: Callable[[Source, Options], Exported]
    suffix: str
    wrap: Wrap
    loading: str
    comment: str = "#"


def required_points(source: Source, options: Options, target: str) -> TargetPoints:
    """The columns that the target feeds.

    Raises:
        DataError: the user did not say.
    """
    if options.points is None:
        fail(
            f"columns and the scale of intensity hang on the data set that {target} is run on",
            source.path,
            "give --points nuscenes, kitti, waymo, or columns such as x,y,z,intensity*255,time",
        )
    return options.points


def norms(network: nn.Module) -> dict[str, nn.BatchNorm1d | nn.BatchNorm2d]:
    """The batch norms of a network by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    }


def state_for(
    source: Source, eps: float, options: Options, target: str
) -> tuple[dict[str, Tensor], list[str]]:
    """The state of the network for norms of epsilon `eps`, and what to note.

    Raises:
        DataError: its norms have another one, and `fold_eps` is not set.
    """
    state = {name: tensor.detach().cpu().clone() for name, tensor in source.network.state_dict().items()}
    notes = []
    others = {name: n for name, n in norms(source.network).items() if abs(n.eps - eps) > 1e-12}
    if others and not options.fold_eps:
        name, norm = next(iter(others.items()))
        fail(
            f"the batch norms of {target} have epsilon {eps:g}, those of this network {norm.eps:g} "
            f"({len(others)} norms, the first one {name})",
            source.path,
            REMEDY_NORMS.format(name="norm_eps", value=eps),
        )
    for name, norm in others.items():
        var = state[f"{name}.running_var"].double()
        scale = ((var + eps) / (var + norm.eps)).sqrt()
        state[f"{name}.weight"] = (state[f"{name}.weight"].double() * scale).float()
    if others:
        notes.append(
            f"The scale of {len(others)} norms has taken up epsilon {eps:g}: equal in inference; training "
            "starts from another function."
        )
    return state, notes


def check_left_out(source: Source, options: Options, part: str, why: str) -> None:
    """Refuse to leave a part out that the user did not name.

    Raises:
        DataError: says why.
    """
    if part not in options.leave_out:
        fail(why, source.path, f"give --leave-out {part} if the rest alone is what you want")
