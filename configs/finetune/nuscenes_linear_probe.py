# Linear probe on all of nuScenes-lidarseg: the setting of nuscenes_1_percent.py, all weights and batch-norm
# statistics of the backbone frozen.
_base_ = "nuscenes_1_percent.py"
data = dict(fraction=None)
head = dict(freeze=True)
