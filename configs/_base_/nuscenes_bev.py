# nuScenes in the BEVFusion layout (CALICO): PointPillars; Swin-T, FPN and LSS over six cameras. One sweep,
# where the paper's prototype joins ten.
_base_ = "nuscenes.py"
data = dict(
    # By name: a camera that a sweep lacks is black and left out.
    camera_names=(
        "CAM_FRONT",
        "CAM_FRONT_RIGHT",
        "CAM_BACK_RIGHT",
        "CAM_BACK",
        "CAM_BACK_LEFT",
        "CAM_FRONT_LEFT",
    ),
    image_size=(256, 704),
)
lidar = dict(_delete_=True, type="PointPillars")
image = dict(
    type="FPN",
    backbone=dict(
        type="TransformersEncoder",
        model="microsoft/swin-tiny-patch4-window7-224",
        stages=("stage2", "stage3", "stage4"),
    ),
    channels=256,
)
camera = dict(type="LSS", bev_channels=80, depth=(1.0, 60.0, 0.5), downsample=2)
optimizer = dict(lr=1e-4)
schedule = dict(epochs=20, warmup=0.2)
