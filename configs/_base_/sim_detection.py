# The simulated drive for detection: PointPillars under a CenterPoint head.
_base_ = "sim_pillars.py"
task = "detection"
data = dict(augmentation=dict(rotation=(-0.7854, 0.7854), scale=(0.95, 1.05), flip=0.5))
network = dict(fused_channels=48)
head = dict(shared_channels=32, head_channels=16)
optimizer = dict(lr=2e-3, head_lr_scale=1.0, clip_norm=10.0)
