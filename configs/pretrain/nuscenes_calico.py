# CALICO: point-region contrast, then distillation into the cameras, 20 epochs each (as reviews report).
_base_ = "../_base_/nuscenes_bev.py"
stages = [
    dict(name="prc", objectives=dict(prc=dict(type="PRC"))),
    dict(
        name="rad",
        objectives=dict(rad=dict(type="RAD")),
        init=dict(stage="prc", heads={"rad.teacher_projector": "prc.projector"}),
        frozen=("lidar",),
    ),
]
