# PointPillars on the simulated drive, and FPN and LSS over its six cameras.
_base_ = "sim_pillars.py"
data = dict(image_size=(128, 256))
image = dict(
    type="FPN",
    backbone=dict(type="EfficientNetLite0", levels=(8, 16), frozen=False),
    channels=32,
)
camera = dict(
    type="LSS",
    bev_channels=32,
    depth=(1.0, 45.0, 1.0),
    grid=dict(x_min=-51.2, x_max=51.2, y_min=-51.2, y_max=51.2, cell=0.8),
)
