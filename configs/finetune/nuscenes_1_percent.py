# Fine-tuning on 1 % of nuScenes-lidarseg, SuperFlow's settings (docs/recipes.md): the first of each hundred
# train scenes, by name. SLidR takes the last of each hundred:
# data.scenes=configs/splits/nuscenes_1_percent_scenes_slidr.txt.
_base_ = "../_base_/nuscenes.py"
data = dict(
    fraction=1,
    augmentation=dict(rotation=(-3.1416, 3.1416), scale=(0.95, 1.05), flip=0.5),
    batch_size=16,
)
lidar = dict(norm_momentum=0.02)
head = dict(head="linear", lovasz_weight=2.0)
optimizer = dict(lr=1e-3, head_lr_scale=10.0, eps=1e-6)
schedule = dict(epochs=100, warmup=0.2)
