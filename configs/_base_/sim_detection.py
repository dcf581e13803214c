# The simulated drive for detection: narrow PointPillars of 0.4 m under a CenterPoint head, LiDAR only.
_base_ = "sim.py"
task = "detection"
data = dict(augmentation=dict(rotation=(-0.7854, 0.7854), scale=(0.95, 1.05), flip=0.5))
lidar = dict(
    _delete_=True,
    type="PointPillars",
    pillar_channels=32,
    bev_widths=(32, 48, 64),
    bev_layers=(2, 2, 2),
    bev_channels=96,
    grid=dict(x_min=-51.2, x_max=51.2, y_min=-51.2, y_max=51.2, cell=0.8),
)
network = dict(fused_channels=48)
head = dict(shared_channels=32, head_channels=16)
optimizer = dict(lr=2e-3, head_lr_scale=1.0, clip_norm=10.0)
