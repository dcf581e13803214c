# Linear probe on nuScenes with frozen batch-norm statistics (SuperFlow's schedule).
_base_ = "../_base_/nuscenes.py"
head = dict(num_classes=16, head="linear", freeze=True, lovasz_weight=2.0)
optimizer = dict(lr=1e-2)
schedule = dict(epochs=50, warmup=0.2)
