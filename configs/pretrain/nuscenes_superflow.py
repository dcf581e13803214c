# SuperFlow with MinkUNet-34 and ViT-B; each cloud is augmented alone.
_base_ = "../_base_/nuscenes_images.py"
data = dict(augmentation=dict(rotation=(0.0, 3.1416), scale=(0.95, 1.05), flip=0.5))
objectives = dict(flow=dict(type="SuperFlow", cross=0.0))
