# CALICO: point-region contrast, then distillation into the cameras' bird's-eye-view map.
_base_ = "../_base_/sim_bev.py"
stages = [
    dict(
        name="prc",
        objectives=dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512)),
    ),
    dict(
        name="rad",
        objectives=dict(rad=dict(type="RAD", num_points=512)),
        init=dict(stage="prc", heads={"rad.teacher_projector": "prc.projector"}),
        frozen=("lidar",),
    ),
]
