"""MinkUNets with the names of SPVNAS (`stem`, `stage1`, `up1`), on torchsparse or MinkowskiEngine.

ScaLR (Puy et al., CVPR 2024; github.com/valeoai/ScaLR) published WaffleIron networks only; its authors
say on their GitHub that they release no MinkUNet, and we found none of others. A MinkUNet distilled in
the way of ScaLR would come in this naming, which the same group uses: ALSO (torchsparse 1.4, MinkUNet34 and
MinkUNet18SC) and BEVContrast (torchsparse on nuScenes, MinkowskiEngine on SemanticKITTI) publish their
weights in it. SPVNAS, OpenPCSeg (basic blocks) and SegContrast share it. The names follow
`networks/backbone/torchsparse/minkunet.py` of ALSO, `bevlab/backbones/` of BEVContrast and
`core/models/semantic_kitti/minkunet.py` of SPVNAS. OpenPCSeg's bottleneck blocks have no ReLU inside;
they are another network, and are refused.

MinkowskiEngine is told by its batch norms (`stem.1.bn.weight`): its even kernels have another order.

Published input of ALSO and BEVContrast on nuScenes: intensity only (0..1), cubic voxels of 0.1 m, the
first point of each voxel; on SemanticKITTI: x, y, z, intensity, cubic voxels of 0.05 m.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pc3d.models.lidar.published.base import Converted, PublishedFormat
from pc3d.models.lidar.published.kernels import from_minkowski, from_torchsparse
from pc3d.models.lidar.published.superflow import MMDET3D
from pc3d.models.lidar.published.unet import LevelNames, UNetNames, convert_unet

NAMES = UNetNames(
    stem=(("stem.0", "stem.1"), ("stem.3", "stem.4")),
    levels=(
        *(LevelNames(f"stage{i}.0.net.0", f"stage{i}.0.net.1", f"stage{i}", 1) for i in range(1, 5)),
        *(LevelNames(f"up{i}.0.net.0", f"up{i}.0.net.1", f"up{i}.1") for i in range(1, 5)),
    ),
    block=MMDET3D.block,
)
OTHER_PARTS = {
    "classifier": "head",
    "final": "head",
    "point_transforms": "not used by the published network",
}


def convert(tensors: Mapping[str, Tensor], intensity_scale: float) -> Converted:
    layout = from_minkowski if any(".bn." in name for name in tensors) else from_torchsparse
    tensors = {name.replace(".bn.", "."): tensor for name, tensor in tensors.items()}
    size = 0.1 if tensors["stem.0.kernel"].shape[-2] == 1 else 0.05
    inputs = {
        "voxel": "cubic",
        "voxel_size": [size] * 3,
        "point_range": None,
        "voxel_feature": "first",
    }
    return convert_unet(tensors, NAMES, layout, intensity_scale, inputs, OTHER_PARTS)


FORMAT = PublishedFormat(
    markers=("stem.0.kernel",),
    convert=convert,
    intensity_scale=1.0,
    note="ScaLR's own checkpoints are WaffleIron networks, which pc3d does not have.",
)
