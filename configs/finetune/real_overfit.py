# One annotated key frame learnt by heart: whether a detector can represent what is there.
_base_ = "../_base_/sim_detection.py"
data = dict(
    augmentation=dict(_delete_=True, rotation=(0, 0), scale=(1, 1), flip=0.0), batch_size=1, workers=0
)
lidar = dict(grid=dict(cell=0.6, x_min=-54.0, x_max=54.0, y_min=-54.0, y_max=54.0))
schedule = dict(iterations=250, warmup=0.1)
