# nuScenes with three random cameras and a frozen DINOv2 ViT-B teacher (SuperFlow).
_base_ = "nuscenes.py"
data = dict(
    cameras=3,
    image_size=(224, 448),
    resize="stretch",
    image_flip=0.5,
    pairing=dict(min_depth=1.0),
)
image = dict(type="TransformersEncoder", model="facebook/dinov2-base", frozen=True, final_norm=False)
schedule = dict(epochs=50, warmup=0.2)
