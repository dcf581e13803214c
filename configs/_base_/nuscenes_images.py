# nuScenes with three random cameras and a frozen DINOv2 ViT-B teacher (SuperFlow).
_base_ = "nuscenes.py"
data = dict(cameras=3, image_size=(224, 448), image_flip=0.5)
image = dict(type="TransformersEncoder", model="facebook/dinov2-base", frozen=True)
schedule = dict(epochs=50, warmup=0.2)
