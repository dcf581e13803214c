# CALICO: point-region contrast, then distillation into the cameras' bird's-eye-view map.
_base_ = "../_base_/sim_bev.py"
stages = [
    dict(
        name="prc",
        objectives=dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512)),
        expected_losses=[6.7408, 6.5631, 6.5415, 6.4834, 6.4113],
    ),
    dict(
        name="rad",
        objectives=dict(rad=dict(type="RAD", num_points=512)),
        init=dict(stage="prc", heads={"rad.teacher_projector": "prc.projector"}),
        frozen=("lidar",),
        expected_losses=[6.1406, 6.088, 5.8864, 5.9999, 5.8898],
    ),
]
