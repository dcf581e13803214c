# BEV map segmentation on nuScenes with LiDAR and cameras, as BEVFusion does it; needs the map expansion.
_base_ = "nuscenes_detection_both.py"
task = "map"
data = dict(map_grid=dict(x_min=-50.0, x_max=50.0, y_min=-50.0, y_max=50.0, cell=0.5))
head = dict(hidden=256)
optimizer = dict(lr=1e-3)
schedule = dict(epochs=20, warmup=0.4)
