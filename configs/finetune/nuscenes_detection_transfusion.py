# As nuscenes_detection.py, with TransFusion's LiDAR head at the size of the paper.
_base_ = "nuscenes_detection.py"
head = dict(type="TransFusionHead", queries=200, channels=128, heads=8, feedforward=256)
