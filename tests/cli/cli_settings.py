"""Settings that make a run of the command small enough for a test."""

QUICK = [
    "data.batch_size=2",
    "data.workers=0",
    "runtime.log_every=1",
    "runtime.log_level=WARNING",
    "schedule.iterations=2",
]
NARROW = [
    "lidar.widths=(4,4,8,8,8,8,8,8)",
    "lidar.stem=4",
    "lidar.voxel_size=(0.5,0.5,0.5)",
    "lidar.bev_channels=8",
]
"""Of a MinkUNet."""
