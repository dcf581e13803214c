# PointPillars on the simulated drive, and its six cameras.
_base_ = ["sim_pillars.py", "sim_cameras.py"]
data = dict(image_size=(128, 256))
