# Fine-tuning on 1 % of nuScenes-lidarseg: the first of each hundred train scenes, by name. SLidR takes the
# last of each hundred: data.scenes=configs/splits/nuscenes_1_percent_scenes_slidr.txt.
_base_ = "../_base_/nuscenes.py"
data = dict(fraction=1, batch_size=16)
head = dict(num_classes=16, head="linear", lovasz_weight=2.0)
optimizer = dict(lr=1e-3, head_lr_scale=10.0)
schedule = dict(epochs=100, warmup=0.2)
