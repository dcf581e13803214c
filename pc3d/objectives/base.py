"""An objective is a pairing of features and a loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pc3d.contrast.comparison import Facts
from pc3d.contrast.contrast import Contrast
from pc3d.data.batch import Needs
from pc3d.objectives.encodings import Encodings


class Objective(nn.Module):
    """Base of the objectives: which features are compared with which, by which loss.

    Class attributes:
        needs: what the loader must make.
        reads_bev: whether it reads the LiDAR encoder's BEV map, of frame "t".
        reads_image: whether it reads the image encoder's features.
        reads_camera_bev: whether it reads the BEV map of the cameras.
        learns_from: one example of what its loss is a mean over, for a person.
        terms: the parts of its loss that may lack examples alone, and why they do.
        later: options with their defaults that came after its first release; where they are not given, a
            run is the same as before there were any.
    """

    needs: Needs
    learns_from: str = "example"
    terms: Mapping[str, str] = MappingProxyType({})
    later: ClassVar[Mapping[str, Any]] = {}
    reads_bev: bool = False
    reads_image: bool = False
    reads_camera_bev: bool = False

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        """What the loader must make for these arguments; `needs` where they make no difference."""
        return cls.needs

    @classmethod
    def frozen_heads(cls, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Its layers that these arguments never train, so that they must come from somewhere."""
        return ()

    @abstractmethod
    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        """Return the scalar `loss` and scalars to be logged beside it (without gradient).

        One of them is `examples`, how many the loss learned from; and `<term>_examples` of each of `terms`.
        """


def compared(contrast: Contrast, knows: Callable[[], Facts]) -> Facts:
    """What is known of the rows of a contrast, where it asks for any of it."""
    return knows() if contrast.wants or contrast.draws else {}


def contrasted(anchors: Tensor, extra: Tensor | None = None) -> Tensor:
    """How many of (N, D) anchors `info_nce` learned from: one without a negative teaches nothing."""
    candidates = len(anchors) + (0 if extra is None else len(extra))
    return torch.tensor(float(len(anchors) if candidates > 1 else 0))


def projector(in_channels: int, out_channels: int = 128) -> nn.Sequential:
    """The two-layer MLP between an encoder and a contrastive loss."""
    return nn.Sequential(
        nn.Linear(in_channels, in_channels), nn.ReLU(inplace=True), nn.Linear(in_channels, out_channels)
    )
