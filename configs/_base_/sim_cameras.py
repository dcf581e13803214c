# FPN and LSS over the six cameras of the simulated drive, on the grid of sim_pillars.py.
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
