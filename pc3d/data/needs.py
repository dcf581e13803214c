"""What an objective or a head asks of the loader."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pc3d.data.occupancy import OccupancySettings

ID_KINDS: dict[str, str] = {
    "regions": "clusters",
    "superpixels": "superpixels",
    "semantics": "semantics",
    "supervoxels": "supervoxels",
    "objects": "objects",
    "tracks": "tracks",
}
"""The ids that `Needs` may ask for, and the kind of region cache that holds each."""


CROPS = tuple("cdefghij")
"""Names of the crops: the views of frame "t" that are parts of it."""


@dataclass(frozen=True)
class Needs:
    """What an objective asks of the loader; the loader makes only that. `a | b` joins two.

    Attributes:
        views: number of augmented views of frame "t" (1 or 2); other frames have one.
        crops: number of further views of frame "t", each a part of it (0 to 8): `CROPS`.
        images, labels, boxes, maps: whether each is read; maps of frame "t" alone.
        neighbour_images: whether images and their ids are read of "t-1" and "t+1", too.
        superpixels, semantics, regions, supervoxels, objects, tracks: which cached ids are read.
        frames: names of the frames.
        statistics: whether the local statistics of the points of frame "t" are made, as a target.
        occupancy: the masked views of frame "t" and what is asked of them, None for none.
    """

    views: int = 1
    images: bool = False
    neighbour_images: bool = False
    superpixels: bool = False
    semantics: bool = False
    regions: bool = False
    supervoxels: bool = False
    objects: bool = False
    tracks: bool = False
    labels: bool = False
    boxes: bool = False
    maps: bool = False
    statistics: bool = False
    frames: tuple[str, ...] = ("t",)
    crops: int = 0
    occupancy: OccupancySettings | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The cached ids that are asked for, each the name of a field."""
        return tuple(name for name in ID_KINDS if getattr(self, name))

    def of_frame(self, name: str) -> Needs:
        """What is loaded of one frame; tracks join "t" and "t+1" only."""
        if name == "t":
            return self
        seen = name == "dense" or self.neighbour_images
        return Needs(
            images=self.images and seen,
            superpixels=self.superpixels and seen,
            semantics=self.semantics and seen,
            tracks=self.tracks and name == "t+1",
        )

    @property
    def cameras(self) -> bool:
        """Whether anything of the images is read."""
        return self.images or self.superpixels or self.semantics

    def __or__(self, other: Needs) -> Needs:
        if self.occupancy and other.occupancy and self.occupancy != other.occupancy:
            raise ValueError(
                f"two objectives mask one sweep differently: {self.occupancy} and {other.occupancy}; give "
                "them the same settings"
            )
        return Needs(
            views=max(self.views, other.views),
            crops=max(self.crops, other.crops),
            frames=tuple(dict.fromkeys(self.frames + other.frames)),
            **{
                f.name: getattr(self, f.name) or getattr(other, f.name)
                for f in fields(Needs)
                if f.name not in ("views", "crops", "frames")
            },
        )
