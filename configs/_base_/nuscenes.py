# nuScenes and the papers' MinkUNet-34 with SuperFlow's input (docs/recipes.md): cylinder voxels, the first
# point of a voxel, intensity 0..255, no range. For GPUs.
seed = 0
data = dict(
    index="data/nuscenes-index",
    split="train",
    regions="data/nuscenes-regions",
    augmentation=dict(rotation=(-1.5708, 1.5708), scale=(0.9, 1.1), flip=0.5),
    batch_size=4,
    workers=4,
)
lidar = dict(
    type="MinkUNet",
    depth=34,
    voxel="cylinder",
    voxel_size=(0.1, 1.0, 0.1),
    point_range=None,
    voxel_feature="first",
    column_scales=(1.0, 1.0, 1.0, 255.0),
    norm_momentum=0.05,
)
optimizer = dict(type="AdamW", lr=0.01, weight_decay=0.01)
runtime = dict(log_every=50)
