# SuperFlow with MinkUNet-34 and ViT-B, as its public code has it; each cloud is augmented alone. Reviews of
# the paper report 50 epochs: schedule.epochs=50.
_base_ = "../_base_/nuscenes_images.py"
data = dict(augmentation=dict(rotation=(0.0, 3.1416), scale=(0.95, 1.05), flip=0.5))
objectives = dict(flow=dict(type="SuperFlow", cross=0.0))
optimizer = dict(eps=1e-6)
schedule = dict(epochs=100)
