# The simulated drive for bird's-eye-view models: narrow PointPillars; FPN and LSS over six cameras.
_base_ = "sim.py"
data = dict(image_size=(128, 256))
lidar = dict(
    _delete_=True,
    type="PointPillars",
    pillar_channels=16,
    bev_widths=(16, 32),
    bev_layers=(1, 2),
    bev_channels=32,
)
image = dict(
    type="FPN",
    backbone=dict(type="EfficientNetLite0", levels=(8, 16), frozen=False),
    channels=32,
)
camera = dict(type="LSS", bev_channels=32, depth=(1.0, 45.0, 1.0))
