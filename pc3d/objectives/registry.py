"""The objectives by name. A new one is a file here, a line below, a config and a test.

One of the user's own is named `module:Class` and needs none of these: see `pc3d.data.plugins`.
"""

from __future__ import annotations

from inspect import signature
from typing import Any, cast

from pc3d.data.plugins import Registry
from pc3d.models.bev.base import ViewTransform
from pc3d.models.build import build
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.bag_of_words import BagOfWords
from pc3d.objectives.base import Objective
from pc3d.objectives.beclr import BECLR
from pc3d.objectives.bev_distill import BEVDistill
from pc3d.objectives.fac import FAC
from pc3d.objectives.local_statistics import LocalStatistics
from pc3d.objectives.masked_occupancy import MaskedOccupancy
from pc3d.objectives.point_contrast import PointContrast
from pc3d.objectives.point_propagation import PointPropagation
from pc3d.objectives.ppkt import PPKT
from pc3d.objectives.prc import PRC
from pc3d.objectives.proposal_contrast import ProposalContrast
from pc3d.objectives.rad import RAD
from pc3d.objectives.scalr import ScaLR
from pc3d.objectives.seal import Seal
from pc3d.objectives.slot_contrast import SlotContrast
from pc3d.objectives.superflow import SuperFlow
from pc3d.objectives.superpixel import SuperpixelContrast
from pc3d.objectives.triple_contrast import TripleContrast
from pc3d.objectives.view_assignment import ViewAssignment

OBJECTIVES: Registry[Objective] = Registry(
    Objective,
    {
        "BECLR": BECLR,
        "BEVDistill": BEVDistill,
        "BagOfWords": BagOfWords,
        "FAC": FAC,
        "LocalStatistics": LocalStatistics,
        "MaskedOccupancy": MaskedOccupancy,
        "PPKT": PPKT,
        "PRC": PRC,
        "PointContrast": PointContrast,
        "PointPropagation": PointPropagation,
        "ProposalContrast": ProposalContrast,
        "RAD": RAD,
        "ScaLR": ScaLR,
        "Seal": Seal,
        "SlotContrast": SlotContrast,
        "SuperFlow": SuperFlow,
        "SuperpixelContrast": SuperpixelContrast,
        "TripleContrast": TripleContrast,
        "ViewAssignment": ViewAssignment,
    },
)


def objective_type(config: dict[str, Any]) -> type[Objective]:
    """The class that a config names by its `type`."""
    name = config.get("type")
    if name not in OBJECTIVES:
        raise ValueError(f"unknown objective type {name!r}; known: {', '.join(sorted(OBJECTIVES))}")
    return cast("type[Objective]", OBJECTIVES[str(name)])


def build_objective(
    config: dict[str, Any],
    lidar: LidarEncoder,
    image: ImageEncoder | None = None,
    camera: ViewTransform | None = None,
) -> Objective:
    """Build the objective of a config dict: its `type` and its keyword arguments.

    Raises:
        ValueError: for an unknown type or argument, naming the known ones.
    """
    kind = objective_type(config)
    encoders: dict[str, Any] = {"lidar": lidar}
    for name, module, wanted in (
        ("image", image, kind.reads_image),
        ("camera", camera, kind.reads_camera_bev),
    ):
        if wanted and module is None:
            raise ValueError(f"{config['type']} needs an encoder of images: set `{name}` in the config")
        # RAD reads images through the view transform only, which it is given instead.
        if wanted and name in signature(kind).parameters:
            encoders[name] = module
    if "temperature" in config and (config.get("contrast") or {}).get("similarity"):
        raise ValueError(f"{config['type']} has `temperature` and `contrast.similarity`: give one of them")
    arguments = {key: value for key, value in config.items() if key != "weight"}
    return build({**arguments, **encoders}, OBJECTIVES, "objective")
