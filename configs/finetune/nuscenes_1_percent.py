# Fine-tuning on 1 % of nuScenes-lidarseg: every 100th scene, as SLidR takes them.
_base_ = "../_base_/nuscenes.py"
data = dict(fraction=1, batch_size=16)
head = dict(num_classes=16, head="linear", lovasz_weight=2.0)
optimizer = dict(lr=1e-3, head_lr_scale=10.0)
schedule = dict(epochs=100, warmup=0.2)
