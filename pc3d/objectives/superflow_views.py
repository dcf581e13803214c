"""One loss of several views in place of SuperFlow's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pc3d.contrast.list_losses import ListLoss
from pc3d.contrast.policy import check_unit_rows
from pc3d.contrast.registry import LIST_LOSSES
from pc3d.data.batch import Needs
from pc3d.models.build import build
from pc3d.objectives.base import contrasted
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.groups import SuperpixelGroups
from pc3d.objectives.superpixel_heads import SuperpixelHeads
from pc3d.ops.device import to_device

VIEWS = ("Q:t", "Q:t-1", "Q:t+1", "Q:dense", "K:t", "K:t-1", "K:t+1")
TEMPERATURE = 0.07


class MultiView(nn.Module):
    """A loss of the views Q and K of the groups that all of them have, of `LIST_LOSSES`.

    A group that one view lacks is left out of all. That superpoints at several times, of the dense sweep and
    superpixels are views of one instance is our choice.

    Args:
        settings: `type`, `over` (two or more of `VIEWS`; by default the attribute) and the arguments of the
            loss; its temperature is that of the objective where none is given.
        heads: of the objective. temperature: of the objective.
        mask_movers: points of segments that move take no part in Q at t and t+1.
    """

    over: ClassVar[tuple[str, ...]] = ("Q:t", "Q:t-1", "Q:t+1", "Q:dense", "K:t")

    def __init__(
        self,
        settings: Mapping[str, Any],
        heads: SuperpixelHeads,
        temperature: float = TEMPERATURE,
        mask_movers: bool = False,
    ) -> None:
        super().__init__()
        self.names = _names(settings, self.over)
        moved = [name for name in self.names if _frame(name) not in ("t", "dense")]
        if heads.ids == "superpixels" and moved:
            raise ValueError(
                "ids='superpixels' mean nothing at another time: take ids='semantics', or multi_view.over "
                f"without {', '.join(moved)}"
            )
        self.loss = _loss(settings, temperature)
        check_unit_rows(self.loss, heads.renormalise)
        self.mask_movers = mask_movers

    @classmethod
    def needs_of(cls, settings: Mapping[str, Any], needs: Needs) -> Needs:
        """The needs of the objective with the frames of these views."""
        over = settings.get("over", cls.over)
        named = [_frame(name) for name in over if name in VIEWS] if isinstance(over, (list, tuple)) else []
        frames = tuple(dict.fromkeys(["t", *named]))
        return replace(needs, frames=frames, neighbour_images=bool({"t-1", "t+1"} & set(frames)))

    def forward(self, encodings: Encodings, heads: SuperpixelHeads) -> dict[str, Tensor]:
        """See `Objective.forward`; collapse is watched between the first and the last view."""
        groups = [self._groups(encodings, heads, name) for name in self.names]
        rows = [
            self._features(encodings, heads, name, group)[index]
            for name, group, index in zip(self.names, groups, shared_rows(groups), strict=True)
        ]
        first = encodings.batch.frames[_frame(self.names[0])]
        count = contrasted(rows[0])
        logged = {
            "examples": count,
            "views_examples": count,
            "groups": torch.tensor(float(groups[0].count)),
            "point_share": groups[0].point_share(first),
        }
        return {"loss": self.loss.views(rows), **logged, **encodings.collapse(rows[0], rows[-1])}

    def _groups(self, encodings: Encodings, heads: SuperpixelHeads, name: str) -> SuperpixelGroups:
        # As in the objective's terms: superpixels are whole, and of the dense sweep no motion is known.
        frame = _frame(name)
        masked = self.mask_movers and name.startswith("Q") and frame != "dense"
        return heads.groups(encodings, frame, encodings.host.frames[frame].moving if masked else None)

    def _features(
        self, encodings: Encodings, heads: SuperpixelHeads, name: str, groups: SuperpixelGroups
    ) -> Tensor:
        pooled = heads.superpoints if name.startswith("Q") else heads.superpixels
        return pooled(encodings, _frame(name), groups)


def shared_rows(groups: Sequence[SuperpixelGroups]) -> list[Tensor]:
    """(S,) positions in each of the groups that all have, in the order of their ids."""
    ids = groups[0].host_ids
    for other in groups[1:]:
        ids = ids[torch.isin(ids, other.host_ids)]
    places = [torch.isin(group.host_ids, ids).nonzero()[:, 0] for group in groups]
    return [to_device(place, groups[0].ids.device) for place in places]


def _frame(name: str) -> str:
    return name.split(":")[1]


def _names(settings: Mapping[str, Any], default: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(settings, Mapping):
        raise ValueError(f"multi_view is {settings!r}, expected dict(type=..., over=(...))")
    over = settings.get("over", default)
    if not isinstance(over, (list, tuple)) or any(name not in VIEWS for name in over):
        raise ValueError(f"multi_view.over is {over!r}, expected names of {', '.join(VIEWS)}")
    if len(over) < 2 or len(set(over)) < len(over):
        raise ValueError(f"multi_view.over is {over!r}, expected two or more views, each once")
    return tuple(over)


def _loss(settings: Mapping[str, Any], temperature: float) -> ListLoss:
    """The loss, of the objective's temperature where it has one and is given none."""
    given = {key: value for key, value in settings.items() if key != "over"}
    kind = LIST_LOSSES.get(str(given.get("type")))
    if isinstance(kind, type) and issubclass(kind, ListLoss):
        own = "temperature" in given or not kind.tempered(given)
        if own and temperature != TEMPERATURE:
            raise ValueError(
                f"temperature {temperature} and multi_view.type {given['type']} exclude each other: it has "
                "its own, or none"
            )
        given = given if own else {**given, "temperature": temperature}
    return build(given, LIST_LOSSES, "multi_view")
