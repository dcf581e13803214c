# The simulated drive and a narrow MinkUNet: minutes on two cores.
seed = 0
data = dict(
    index="data/sim-index",
    split="sim_train",
    regions="data/sim-regions",
    superpixel_params=dict(width=448),
    augmentation=dict(rotation=(-1.5708, 1.5708), scale=(0.9, 1.1), flip=0.5),
    batch_size=2,
    workers=1,
)
lidar = dict(
    type="MinkUNet",
    depth=18,
    widths=(16, 24, 32, 48, 48, 32, 32, 32),
    stem=16,
    voxel_size=(0.2, 0.2, 0.2),
    bev_channels=32,
)
optimizer = dict(type="AdamW", lr=2e-3, weight_decay=0.01, clip_norm=10.0)
schedule = dict(iterations=300, warmup=0.2)
runtime = dict(log_every=10)
