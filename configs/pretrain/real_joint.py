# Both objectives on several real drives at once: a KITTI drive and a nuScenes key frame.
_base_ = "../_base_/sim.py"
data = dict(
    _delete_=True,
    sources=[
        dict(index="data/kitti-index", split="train", regions="data/kitti-regions"),
        dict(index="data/nuscenes-index", split=None, regions="data/nuscenes-regions"),
    ],
    augmentation=dict(rotation=(-1.5708, 1.5708), scale=(0.9, 1.1), flip=0.5),
    superpixel_params=dict(width=448),
    cameras=1,
    image_size=(224, 448),
    batch_size=2,
    workers=1,
)
image = dict(type="EfficientNetLite0", levels=(8, 16), frozen=True)
objectives = dict(
    prc=dict(type="PRC", num_region_points=512, num_background_points=512),
    superpixel=dict(type="SuperpixelContrast", weight=1.0, pixel_stride=4),
)
schedule = dict(iterations=80, warmup=0.2)
