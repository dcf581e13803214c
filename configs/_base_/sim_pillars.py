# The simulated drive and narrow PointPillars of 0.4 m, for bird's-eye-view models.
_base_ = "sim.py"
lidar = dict(
    _delete_=True,
    type="PointPillars",
    pillar_channels=32,
    bev_widths=(32, 48, 64),
    bev_layers=(2, 2, 2),
    bev_channels=96,
    grid=dict(x_min=-51.2, x_max=51.2, y_min=-51.2, y_max=51.2, cell=0.8),
)
