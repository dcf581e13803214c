"""Label-free semantic ids: k-means of an image teacher's dense features, fitted once a data set.

One codebook serves every camera and time, so its ids mean the same wherever they occur, which a
superpixel's do not. What an id means nobody knows; that it means one thing is measured, as purity.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from pc3d.data.array_file import load_arrays, save_arrays
from pc3d.data.errors import DataError, fail
from pc3d.data.images import load_image
from pc3d.data.index import SweepIndex
from pc3d.data.records import Camera, Float32, Sweep
from pc3d.data.region_cache import RegionCache
from pc3d.models.image import ImageEncoder, build_image_encoder
from pc3d.regions.semantics.inference import inference
from pc3d.regions.semantics.params import SemanticParams


@dataclass(frozen=True, eq=False)
class Codebook:
    """Centres of k-means among standardised, L2-normalised features.

    Standardising keeps a few loud channels from deciding alone [O].

    Attributes:
        mean, deviation: (C,) float32 of the fitted features.
        centres: (K, C) float32.
    """

    mean: Float32
    deviation: Float32
    centres: Float32

    @classmethod
    def fit(cls, features: Float32, clusters: int, seed: int) -> Codebook:
        """k-means (k-means++ start) of (N, C) features.

        Raises:
            ValueError: fewer features than clusters.
        """
        from sklearn.cluster import KMeans

        if len(features) < clusters:
            raise ValueError(f"{len(features)} features for {clusters} clusters: fit on more images or cells")
        mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
        kmeans = KMeans(clusters, n_init=1, random_state=seed)
        kmeans.fit(_normalised(torch.from_numpy(features), mean, deviation).numpy())
        return cls(mean, deviation, kmeans.cluster_centers_.astype(np.float32))

    def ids(self, features: Tensor) -> NDArray[np.int16]:
        """(...) int16 nearest centre of (..., C) features."""
        unit = _normalised(features, self.mean, self.deviation)
        centres = torch.from_numpy(self.centres).to(unit)
        # |f - c|^2 without |f|^2, which is the same for every c.
        nearest = (unit @ centres.T - centres.square().sum(dim=1) / 2).argmax(dim=-1)
        return nearest.cpu().numpy().astype(np.int16)

    def save(self, path: Path) -> None:
        """Write an .npz file: it appears complete or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(path, {"mean": self.mean, "deviation": self.deviation, "centres": self.centres})

    @classmethod
    def load(cls, path: Path) -> Codebook:
        """What `save` wrote.

        Raises:
            DataError: it is not there, or broken.
        """
        try:
            return cls(**load_arrays(path))
        except (OSError, TypeError, ValueError) as error:
            raise DataError(
                f"the codebook of the semantics cannot be read: {error}\n  where: {path}\n"
                "  remedy: pc3d regions INDEX --out CACHE --kinds semantics"
            ) from error


def _normalised(features: Tensor, mean: Float32, deviation: Float32) -> Tensor:
    moved = features - torch.from_numpy(mean).to(features)
    return normalize(moved / torch.from_numpy(deviation).to(features), dim=-1)


def codebook_path(cache: RegionCache) -> Path:
    """The codebook lies beside the id maps that it made."""
    return cache.folder / "codebook.npz"


def prepare(cache: RegionCache, params: SemanticParams, index: SweepIndex) -> None:
    """Fit the codebook on images of the train split, unless it is there.

    Raises:
        DataError: no images; or id maps of a codebook that is gone.
    """
    path = codebook_path(cache)
    if path.is_file():
        return
    if any(cache.folder.glob("*/*.npz")):
        fail("there are id maps, but not the codebook that made them", path, "remove the folder of the maps")
    features = _sampled_features(params, index)
    Codebook.fit(features, params.clusters, params.seed).save(path)


def _sampled_features(params: SemanticParams, index: SweepIndex) -> Float32:
    """(N, C) features of random cells of random images."""
    rng = np.random.default_rng(params.seed)
    split = params.fit_split or next((name for name in index.splits if name.endswith("train")), None)
    rows = index.key_rows(split)
    chosen = np.sort(rng.choice(rows, min(params.fit_images, len(rows)), replace=False))
    cameras_of_each = -(-params.fit_images // max(len(chosen), 1))
    features = []
    for row in chosen:
        sweep = index[int(row)]
        for number in rng.permutation(len(sweep.cameras))[:cameras_of_each]:
            cells = dense_features([sweep.cameras[number]], params, sweep.token).flatten(0, 2).cpu().numpy()
            features.append(rng.permutation(cells)[: params.fit_cells])
    if not features:
        fail(f"no key frame of split {split!r} has a camera", index.folder, "take another --semantics-source")
    return np.concatenate(features)


def semantic_ids(sweep: Sweep, params: SemanticParams, cache: RegionCache) -> dict[str, NDArray[np.int16]]:
    """By camera name an int16 map with an id for every feature cell of the teacher.

    Raises:
        DataError: an image or the codebook is missing.
    """
    if not sweep.cameras:
        return {}
    ids = Codebook.load(codebook_path(cache)).ids(dense_features(sweep.cameras, params, sweep.token))
    return {camera.name: ids[number] for number, camera in enumerate(sweep.cameras)}


def dense_features(cameras: Sequence[Camera], params: SemanticParams, token: str = "") -> Tensor:
    """(V, H', W', C) float32 features of the teacher over the whole images, stretched to one size."""
    size = (params.width, params.height)
    loaded = (
        load_image(camera.path, token, at_least=size, size=camera.size, key=camera.key) for camera in cameras
    )
    resized = (Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR) for rgb in loaded)
    images = np.stack([np.asarray(image) for image in resized])
    with inference() as device:
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        return _teacher(json.dumps(params.teacher)).to(device)(pixels).permute(0, 2, 3, 1)


@lru_cache(maxsize=1)
def _teacher(config: str) -> ImageEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # a teacher without weights is the same in every process
        return build_image_encoder(json.loads(config)).eval()
