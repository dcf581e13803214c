# BEVFusion's layout on nuScenes with LiDAR and cameras, under its settings (docs/recipes.md).
_base_ = "../_base_/nuscenes_bev.py"
task = "detection"
data = dict(
    split="train",
    augmentation=dict(rotation=(-0.7854, 0.7854), scale=(0.9, 1.1), flip=0.5),
    balance=True,
)
network = dict(fused_channels=256, widths=(128, 256), layers=(5, 5), channels=512)
optimizer = dict(lr=2e-4, clip_norm=35.0)
schedule = dict(epochs=6, warmup=0.02)
