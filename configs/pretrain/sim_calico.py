# CALICO: point-region contrast, then distillation into the cameras' bird's-eye-view map.
_base_ = "../_base_/sim_bev.py"
stages = [
    dict(
        name="prc",
        objectives=dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512)),
        expected_losses=[6.2068, 5.9759, 5.728, 5.5783, 5.6389],
    ),
    dict(
        name="rad",
        objectives=dict(rad=dict(type="RAD", num_points=512)),
        init=dict(stage="prc", heads={"rad.teacher_projector": "prc.projector"}),
        frozen=("lidar",),
        expected_losses=[5.9062, 5.7204, 5.1306, 5.5034, 5.3573],
    ),
]
