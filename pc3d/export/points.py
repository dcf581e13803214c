"""The columns that a target feeds its network with, and a first layer that expects them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pc3d.data.errors import did_you_mean
from pc3d.data.sweeps import FEATURES
from pc3d.models.lidar.inputs import PointInputs

PRESETS = {
    "nuscenes": "x,y,z,intensity*255,time",
    "kitti": "x,y,z,intensity",
    "waymo": "x,y,z,intensity,elongation",
}
"""As OpenPCDet and mmdetection3d read these data sets (Waymo: tanh of the intensity, as in our reader)."""


@dataclass(frozen=True)
class TargetPoints:
    """Columns of a target's points.

    Attributes:
        names: of the columns, in their order.
        scales: the target's value over ours, of each.
    """

    names: tuple[str, ...]
    scales: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> TargetPoints:
        """From a key of `PRESETS`, or names with commas between, each with `*FACTOR` where it is scaled.

        Raises:
            ValueError: the text is neither.
        """
        names, scales = [], []
        for column in PRESETS.get(text, text).split(","):
            name, star, factor = column.strip().partition("*")
            try:
                scale = float(factor) if star else 1.0
            except ValueError:
                scale = 0.0
            if not name.isidentifier() or not scale > 0 or name in names:
                raise ValueError(
                    f"points {text!r}: expected {', '.join(PRESETS)}, or columns such as "
                    f"{PRESETS['nuscenes']}, each once; {column!r} is none"
                )
            names.append(name)
            scales.append(scale)
        if not set(names) & {*FEATURES, "x"}:
            near, known = did_you_mean(text, PRESETS), ", ".join(PRESETS)
            raise ValueError(f"points {text!r}: neither a preset ({known}) nor columns of points{near}")
        if names[:3] != ["x", "y", "z"] and "x" in names:
            raise ValueError(f"points {text!r}: x, y, z come first, where they are given")
        return cls(tuple(names), tuple(scales))

    def __str__(self) -> str:
        pairs = zip(self.names, self.scales, strict=True)
        return ",".join(name if scale == 1 else f"{name}*{scale:g}" for name, scale in pairs)

    def fold(
        self, weight: Tensor, inputs: PointInputs, columns: Sequence[str]
    ) -> tuple[Tensor, tuple[str, ...]]:
        """A first layer's weight for these columns instead of the encoder's.

        Args:
            weight: (out, ..., in_channels) of the encoder.
            inputs: which columns it reads, and how it scales them.
            columns: names of the columns of its points.

        Returns:
            (out, ..., len(names)); and what was done, a sentence each.

        Raises:
            ValueError: the encoder reads a column that these lack.
        """
        read = [columns[c] if c < len(columns) else f"column {c}" for c in inputs.columns]
        if missing := [name for name in read if name not in self.names]:
            raise ValueError(
                f"the encoder reads {', '.join(missing)}, which the target's points ({self}) do not have"
            )
        own = [1.0] * len(read) if inputs.column_scales is None else inputs.column_scales.tolist()
        folded = weight.new_zeros(*weight.shape[:-1], len(self.names))
        notes = []
        for i, name in enumerate(read):
            at = self.names.index(name)
            factor = own[i] / self.scales[at]
            folded[..., at] += weight[..., i] if factor == 1 else (weight[..., i].double() * factor).float()
            if factor != 1:
                notes.append(f"The first layer's weights for {name} are multiplied by {factor:g}.")
        if unread := [name for name in self.names if name not in read]:
            notes.append(f"The network does not read {', '.join(unread)}: weights of zero.")
        return folded, tuple(notes)


def plain_points(inputs: PointInputs, columns: Sequence[str]) -> TargetPoints:
    """The columns that an encoder reads, as it reads them before it scales them."""
    names = tuple(columns[c] if c < len(columns) else f"column_{c}" for c in inputs.columns)
    return TargetPoints(names, (1.0,) * len(names))


def fold_offsets(weight: Tensor, folded: Tensor, in_channels: int, centre_z: bool) -> Tensor:
    """The pillars' layer: columns folded, then six offsets, of which ours may lack z minus centre.

    Args:
        weight: (out, in_channels + 5 or 6). folded: (out, columns) of `TargetPoints.fold`.
    """
    offsets = weight[:, in_channels:]
    if not centre_z:
        offsets = torch.cat((offsets, offsets.new_zeros(len(offsets), 1)), dim=1)
    return torch.cat((folded, offsets), dim=1)
