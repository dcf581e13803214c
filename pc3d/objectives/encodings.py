"""The encoder passes of one step, each computed once and shared by all objectives."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

import torch
from torch import Tensor

from pc3d.contrast.monitors import collapse_metrics
from pc3d.data.batch import CROPS, Batch
from pc3d.data.occupancy import MASKED
from pc3d.geometry.grid import BevGrid
from pc3d.models.bev.base import ViewTransform
from pc3d.models.bev.camera_map import camera_map
from pc3d.models.image.base import ImageEncoder
from pc3d.models.image.common import LevelImageEncoder
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures
from pc3d.ops.device import to_device


class Encodings:
    """Lazily computed encoder outputs of a batch.

    Args:
        batch: the training batch.
        lidar_encoder: encodes point views.
        image_encoder: encodes images, or None where no objective reads images.
        view_transform: makes the camera BEV map, or None where no objective reads it.
        want_bev: whether any objective of the step reads the LiDAR encoder's BEV map, of frame "t".
        generator: source of random numbers of the step (CPU).
        monitors: whether `collapse` looks at features in this step.

    Attributes:
        passes: how often each (network, frame, view) was computed; never above 1.
    """

    def __init__(
        self,
        batch: Batch,
        lidar_encoder: LidarEncoder,
        image_encoder: ImageEncoder | None = None,
        view_transform: ViewTransform | None = None,
        *,
        want_bev: bool = True,
        generator: torch.Generator | None = None,
        monitors: bool = True,
    ) -> None:
        self.batch, self.monitors = batch, monitors
        self.generator = generator if generator is not None else torch.Generator().manual_seed(0)
        self.lidar_encoder = lidar_encoder
        self.passes: Counter[tuple[str, str, str]] = Counter()
        self._image_encoder = image_encoder
        self._view_transform = view_transform
        self._want_bev = want_bev
        self._lidar: dict[tuple[str, str, str], LidarFeatures] = {}
        self._key_encoders: list[LidarEncoder] = []
        self._images: dict[str, Tensor] = {}
        self._levels: dict[str, list[Tensor]] = {}
        self._camera_bev: dict[str, Tensor] = {}
        self._reach: dict[tuple[str, str, str], Tensor] = {}

    @cached_property
    def host(self) -> Batch:
        """The batch in the host's memory: rows are chosen there, so that nobody waits for a GPU."""
        return self.batch.host

    def here(self, rows: Tensor) -> Tensor:
        """A tensor of the host on the device of the batch."""
        return to_device(rows, self.batch.now.row_batch.device)

    def reach(self, view: str = "a", frame: str = "t", key_encoder: LidarEncoder | None = None) -> Tensor:
        """(P,) bool in the host's memory: which points of a view have a feature, `LidarFeatures.valid`."""
        encoder = self.lidar_encoder if key_encoder is None else key_encoder
        key = ("lidar" if key_encoder is None else self._name_of(key_encoder), frame, view)
        if key not in self._reach:
            known = encoder.reach(self.host.frames[frame].views[view])
            self._reach[key] = self.lidar(view, frame, key_encoder).valid.cpu() if known is None else known
        return self._reach[key]

    def collapse(self, features_a: Tensor, features_b: Tensor | None = None) -> dict[str, Tensor]:
        """`collapse_metrics` of compared features, nothing in a step without monitors."""
        return collapse_metrics(features_a, features_b) if self.monitors else {}

    def lidar(
        self,
        view: str = "a",
        frame: str = "t",
        key_encoder: LidarEncoder | None = None,
        key_bev: bool = False,
    ) -> LidarFeatures:
        """Features of a view of a frame.

        Args:
            key_encoder: encode with this momentum encoder, without gradient, instead of the encoder that
                is trained. Each has passes of its own: `key`, `key2`, ...
            key_bev: with the BEV map of the momentum encoder.
        """
        network = "lidar" if key_encoder is None else self._name_of(key_encoder)
        key = (network, frame, view)
        if key not in self._lidar or (key_bev and self._lidar[key].bev is None):
            self.passes[key] += 1
            cloud = self.batch.frames[frame].views[view]
            if key_encoder is None:
                whole = view not in (*CROPS, *MASKED)  # nobody maps a part
                mapped = self._want_bev and frame == "t" and whole
                self._lidar[key] = self.lidar_encoder(cloud, mapped)
            else:
                with torch.no_grad():
                    self._lidar[key] = key_encoder(cloud, key_bev)
        return self._lidar[key]

    def _name_of(self, key_encoder: LidarEncoder) -> str:
        """Name of the passes of a momentum encoder, by its identity."""
        if not any(known is key_encoder for known in self._key_encoders):
            self._key_encoders.append(key_encoder)
        place = next(n for n, known in enumerate(self._key_encoders) if known is key_encoder)
        return "key" if place == 0 else f"key{place + 1}"

    @property
    def grid(self) -> BevGrid:
        """BEV grid of the LiDAR encoder."""
        return self.lidar_encoder.grid

    def image(self, frame: str = "t") -> Tensor:
        """(B * V, C, h, w) dense features of all images of a frame, in the order b * V + v."""
        if frame not in self._images:
            encoder = self._images_encoder()
            if isinstance(encoder, LevelImageEncoder):
                self._images[frame] = encoder.join(self.pyramid(frame))
            elif (cached := self._cached(frame)) is not None:
                self._images[frame] = cached[0]
            else:
                self.passes["image", frame, ""] += 1
                self._images[frame] = encoder(self._pictures(frame))
        return self._images[frame]

    def pyramid(self, frame: str = "t") -> list[Tensor]:
        """The levels of all images of a frame, `ImageEncoder.pyramid`, in the same pass as `image`."""
        if frame not in self._levels:
            encoder, cached = self._images_encoder(), self._cached(frame)
            if cached is not None:
                self._levels[frame] = cached
            elif isinstance(encoder, LevelImageEncoder):
                self.passes["image", frame, ""] += 1
                self._levels[frame] = encoder.pyramid(self._pictures(frame))
            elif len(encoder.level_channels) == 1:
                self._levels[frame] = [self.image(frame)]
            else:  # only the encoder knows how its levels become its map
                self.passes["pyramid", frame, ""] += 1
                self._levels[frame] = encoder.pyramid(self._pictures(frame))
        return self._levels[frame]

    def _images_encoder(self) -> ImageEncoder:
        if self._image_encoder is None:
            raise ValueError("the objective reads images, but the config has no `image` encoder")
        return self._image_encoder

    def _cached(self, frame: str) -> list[Tensor] | None:
        """The levels as the loader read them, where it did."""
        teacher = self.batch.frames[frame].teacher
        if teacher is None:
            return None
        return [teacher.levels[str(n)].flatten(0, 1).float() for n in range(len(teacher.levels))]

    def _pictures(self, frame: str) -> Tensor:
        if self.batch.frames[frame].images is None:
            raise ValueError(f"frame {frame!r} has no images; ask for them in `Objective.needs`")
        return self.batch.frames[frame].pictures()

    def camera_bev(self, view: str = "a") -> Tensor:
        """(B, C, rows, cols) BEV map of the cameras of frame "t", in the frame of a LiDAR view."""
        if self._view_transform is None:
            raise ValueError(
                "the objective reads the cameras' BEV map, but the config has no `camera` section"
            )
        if view not in self._camera_bev:
            features = self.image()
            self.passes["camera_bev", "t", view] += 1
            self._camera_bev[view] = camera_map(self._view_transform, features, self.batch.now, view)
        return self._camera_bev[view]

    def detached(self) -> Encodings:
        """The same outputs as leaves that collect a gradient: what objectives cost without the encoders."""

        def leaf(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.detach().requires_grad_(x.requires_grad)

        copy = Encodings(
            self.batch,
            self.lidar_encoder,
            self._image_encoder,
            self._view_transform,
            want_bev=self._want_bev,
            generator=self.generator,
        )
        copy._key_encoders = self._key_encoders
        for key, features in self._lidar.items():
            points = leaf(features.points)
            assert points is not None
            copy._lidar[key] = LidarFeatures(points, features.valid, leaf(features.bev))
        copy._levels = {key: [level.detach() for level in levels] for key, levels in self._levels.items()}
        copy._images = {key: image.detach() for key, image in self._images.items()}
        copy._camera_bev = {key: bev.detach().requires_grad_() for key, bev in self._camera_bev.items()}
        return copy

    def outputs(self, trunk: bool = True) -> dict[str, list[Tensor]]:
        """Outputs of the passes so far that carry a gradient, by network.

        Args:
            trunk: of the LiDAR encoder the last tensor that its outputs share, where objectives may
                disagree; else the outputs themselves.
        """
        lidar: list[Tensor] = []
        for (network, _, _), features in self._lidar.items():
            if network == "lidar":
                shared = features.trunk if trunk else None
                ends = [features.points, features.bev] if shared is None else [shared]
                lidar += [end for end in ends if end is not None]
        found = {"lidar": lidar, "image": list(self._images.values())}
        found = {name: [x for x in outputs if x.requires_grad] for name, outputs in found.items()}
        return {name: outputs for name, outputs in found.items() if outputs}
