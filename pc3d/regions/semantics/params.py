"""Where semantic ids come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pc3d.data.classes import shared_class_set
from pc3d.regions.ground import check_positive

SEMANTIC_CLASSES: tuple[str, ...] = (*shared_class_set()["classes"], "sky")
"""The 16 common classes and the sky: those of the sources `text` and `oracle`, in the order of their ids."""

Source = Literal["kmeans", "png", "text", "oracle"]


def _teacher() -> dict[str, Any]:
    return {"type": "EfficientNetLite0", "levels": [8, 16]}


@dataclass(frozen=True)
class SemanticParams:
    """Setting of the semantic ids; the label-free default is our choice [O].

    SuperFlow's maps come from a vision foundation model with text prompts; only the maps are published.

    Attributes:
        source: `kmeans` (label-free: clusters of an image teacher's features), `png` (id maps that any
            vision foundation model made), `text` (text-prompted segmentation), `oracle` (the simulator's
            truth of every pixel: labels, for experiments that say so).
        teacher: of `kmeans`, a configuration of `pc3d.models.image.build_image_encoder`.
        height, width: that `kmeans` resizes images to.
        clusters: ids of `kmeans`.
        fit_split: `kmeans` is fitted on it, once; None takes the first split named `...train`.
        fit_images, fit_cells: images of it, and feature cells of each image, that are drawn.
        seed: of that draw and of the k-means.
        folder: of `png`: FOLDER/CAMERA/IMAGE_NAME.png.
        model: of `text`: a local folder or a hub name.
        prompt: of `text`; `{}` stands for the class.

    Raises:
        ValueError: an unknown source, a source without what it reads, a count that is not positive.
    """

    source: Source = "kmeans"
    teacher: dict[str, Any] = field(default_factory=_teacher)
    height: int = 224
    width: int = 448
    clusters: int = 32
    fit_split: str | None = None
    fit_images: int = 200
    fit_cells: int = 200
    seed: int = 0
    folder: str | None = None
    model: str = "CIDAS/clipseg-rd64-refined"
    prompt: str = "There is a {} in the scene"

    def __post_init__(self) -> None:
        if self.source not in get_args(Source):
            raise ValueError(f"source is {self.source!r}, expected one of {', '.join(get_args(Source))}")
        if self.source == "png" and self.folder is None:
            raise ValueError("source 'png' reads FOLDER/CAMERA/IMAGE_NAME.png: set `folder`")
        if "{}" not in self.prompt:
            raise ValueError(f"prompt is {self.prompt!r}: write {{}} where the class belongs")
        check_positive(self, "height", "width", "clusters", "fit_images", "fit_cells")

    @property
    def uses_labels(self) -> bool:
        """Whether the ids are labels, so that what is trained with them is not label-free."""
        return self.source == "oracle"
