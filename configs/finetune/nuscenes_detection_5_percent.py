# The same with 5 % of the labels, every 20th scene (CALICO), from a pretraining run: `init.run=...`.
_base_ = "nuscenes_detection.py"
data = dict(fraction=5)
