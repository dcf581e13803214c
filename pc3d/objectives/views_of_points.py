"""The same points in two views, by the network that is trained and by its momentum copy."""

from __future__ import annotations

from torch import Tensor, nn

from pc3d.models.following import Following
from pc3d.models.lidar.base import LidarEncoder
from pc3d.models.lidar.momentum import MomentumEncoder
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import loaded_xyz
from pc3d.objectives.matches import feature_index
from pc3d.ops.sampling import sample_rows

VIEWS = ("a", "b")


class MomentumPoints(nn.Module):
    """Projected features of points that both views hold: of the trained networks, and of their momentum
    copies.

    Args:
        lidar: the encoder that is trained. head: its projector.
        momentum, steps: of both copies, see `Pace`. count: points of a sweep.
    """

    def __init__(
        self, lidar: LidarEncoder, head: nn.Module, momentum: float, count: int, steps: int | None = None
    ) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"num_points is {count}, expected at least 1")
        self.key, self.key_head = MomentumEncoder(lidar, momentum, steps), Following(head, momentum, steps)
        self.count = count

    def follow(self, lidar: LidarEncoder, head: nn.Module) -> None:
        """Move the copies, at the beginning of a training step."""
        self.key.update(lidar)
        self.key_head.update(head)

    def rows(self, encodings: Encodings) -> tuple[Tensor, dict[str, Tensor]]:
        """(M,) rows in the host's memory, and their positions in each view; by sweep."""
        index = {view: feature_index(encodings, view) for view in VIEWS}
        usable = (index["a"] >= 0) & (index["b"] >= 0)
        rows = sample_rows(
            usable, encodings.host.now.row_batch, len(encodings.batch), self.count, encodings.generator
        )
        return rows, {view: encodings.here(place[rows]) for view, place in index.items()}

    def student(self, encodings: Encodings, head: nn.Module, places: dict[str, Tensor]) -> dict[str, Tensor]:
        """(M, D) by view, with gradient."""
        return {view: head(encodings.lidar(view).points[places[view]]) for view in VIEWS}

    def teacher(self, encodings: Encodings, places: dict[str, Tensor]) -> dict[str, Tensor]:
        """(M, D) by view, without."""
        return {
            view: self.key_head(encodings.lidar(view, key_encoder=self.key).points[places[view]])
            for view in VIEWS
        }


def places_of(encodings: Encodings, index: Tensor) -> tuple[Tensor, Tensor]:
    """(M, 3) places in the frame of the loaded sweep and (M,) sweeps of positions in view "a"."""
    view = encodings.batch.now.views["a"]
    return loaded_xyz(view, index), view.batch[index]


def normed_projector(in_channels: int, hidden: int, dim: int) -> nn.Sequential:
    """Linear - BN - ReLU - linear."""
    return nn.Sequential(
        nn.Linear(in_channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim)
    )
