# BEVFusion's layout on nuScenes, LiDAR only: ten sweeps, PointPillars, CenterPoint head; all labels.
_base_ = "../_base_/nuscenes_bev.py"
task = "detection"
image = None
camera = None
data = dict(
    _delete_=True,
    index="data/nuscenes-index",
    split="train",
    sweeps=10,
    features=("intensity", "time"),
    augmentation=dict(rotation=(-0.7854, 0.7854), scale=(0.9, 1.1), flip=0.5),
    balance=True,
    batch_size=4,
    workers=4,
)
network = dict(fused_channels=256, widths=(128, 256), layers=(5, 5), channels=512)
optimizer = dict(_delete_=True, type="AdamW", lr=1e-3, weight_decay=0.01, clip_norm=35.0)
schedule = dict(_delete_=True, epochs=20, warmup=0.4)
