"""Arguments of temporal voting, of test-time augmentation, of scores and devices that the tools share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where used, so that --help need not wait for torch
    from pc3d.data.region_cache import RegionCache
    from pc3d.evaluation.own.detection_scores import DetectionScoring
    from pc3d.evaluation.temporal_voting import VotingConfig
    from pc3d.evaluation.test_time_augmentation import AugmentedCopies


def add_voting(parser: argparse.ArgumentParser, default: int | None = None) -> None:
    """Add --temporal-voting and the settings of the vote."""
    group = parser.add_argument_group("temporal voting")
    group.add_argument(
        "--temporal-voting",
        type=int,
        metavar="K",
        default=default,
        help="key frames before and after that vote" + ("" if default is None else f" (default: {default})"),
    )
    group.add_argument("--voxel", type=float, default=0.2, help="metres (default: %(default)s)")
    group.add_argument("--combine", default="replace", help="replace or average (default: %(default)s)")
    group.add_argument("--half-life", type=float, metavar="S", help="seconds after which a vote weighs half")
    group.add_argument("--regions", type=Path, help="caches with tracks: moving segments take no part")


def voting_of(args: argparse.Namespace) -> VotingConfig | None:
    """The vote that the arguments describe; None without --temporal-voting."""
    if args.temporal_voting is None:
        return None
    from pc3d.evaluation.temporal_voting import VotingConfig

    return VotingConfig(args.temporal_voting, args.voxel, args.combine, args.half_life)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the GPU where there is one)")


def add_tta(parser: argparse.ArgumentParser) -> None:
    """Add --tta."""
    parser.add_argument(
        "--tta",
        type=int,
        metavar="N",
        help="test-time augmentation: the mean of N copies of each sweep, mirrored (2 to 4), turned by a "
        "right angle (to 8), scaled by 5 %% (to 24)",
    )


def tta_of(args: argparse.Namespace) -> AugmentedCopies | None:
    """The copies that the arguments describe; None without --tta or with 0."""
    if not args.tta:
        return None
    from pc3d.evaluation.test_time_augmentation import AugmentedCopies

    return AugmentedCopies(args.tta)


def tracks_of(args: argparse.Namespace) -> RegionCache | None:
    """The cache of tracks under --regions."""
    if args.regions is None:
        return None
    from pc3d.regions.build import open_cache

    return open_cache(args.regions, "tracks")


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """Add who scores, and how pc3d scores boxes."""
    group = parser.add_argument_group("scores")
    group.add_argument(
        "--evaluator",
        choices=("pc3d", "nuscenes-devkit"),
        help="who scores (default: the devkit for data in the nuScenes format with its classes, else pc3d)",
    )
    group.add_argument(
        "--iou",
        nargs="+",
        default=[],
        metavar="CLASS=IOU",
        help="overlap that makes a box right, of AP by IoU (default: 0.7 for vehicles, 0.5 for others)",
    )
    group.add_argument(
        "--max-distance",
        type=float,
        metavar="M",
        help="metres from the vehicle up to which boxes count (default: 50)",
    )
    group.add_argument(
        "--half-turn",
        nargs="+",
        metavar="CLASS",
        help="classes whose front and back are not told apart (default: barrier)",
    )


def scoring_of(args: argparse.Namespace) -> DetectionScoring | None:
    """The scoring of boxes that the arguments describe; None where they say nothing of it.

    Raises:
        ValueError: an argument is wrong.
    """
    given = {"max_distance": args.max_distance, "half_turn": args.half_turn and tuple(args.half_turn)}
    chosen = {name: value for name, value in given.items() if value is not None}
    if args.iou:
        chosen["iou"] = dict(_named_iou(text) for text in args.iou)
    if not chosen:
        return None
    from pc3d.evaluation.own.detection_scores import DetectionScoring

    return DetectionScoring(**chosen)


def _named_iou(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ValueError(f"--iou is {text!r}, expected CLASS=IOU, e.g. car=0.7") from None
