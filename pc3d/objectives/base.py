"""An objective is a pairing of features and a loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pc3d.data.batch import Needs
from pc3d.objectives.encodings import Encodings


class Objective(nn.Module):
    """Base of the objectives: which features are compared with which, by which loss.

    Class attributes:
        needs: what the loader must make.
        reads_bev: whether it reads the LiDAR encoder's BEV map, of frame "t".
        reads_image: whether it reads the image encoder's features.
        reads_camera_bev: whether it reads the BEV map of the cameras.
    """

    needs: Needs
    reads_bev: bool = False
    reads_image: bool = False
    reads_camera_bev: bool = False

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        """What the loader must make for these arguments; `needs` where they make no difference."""
        return cls.needs

    @abstractmethod
    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        """Return the scalar `loss` and scalars to be logged beside it (without gradient)."""


def projector(in_channels: int, out_channels: int = 128) -> nn.Sequential:
    """The two-layer MLP between an encoder and a contrastive loss."""
    return nn.Sequential(
        nn.Linear(in_channels, in_channels), nn.ReLU(inplace=True), nn.Linear(in_channels, out_channels)
    )
