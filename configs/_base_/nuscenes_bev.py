# nuScenes in the BEVFusion layout (CALICO): PointPillars; Swin-T, FPN and LSS over six cameras. Ten
# sweeps with their age, as the paper's prototype has them.
_base_ = "nuscenes.py"
data = dict(
    sweeps=10,
    features=("intensity", "time"),
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
lidar = dict(_delete_=True, type="PointPillars", in_channels=5)
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
