# CALICO: point-region contrast, then distillation into the cameras' bird's-eye-view map.
_base_ = "../_base_/sim_bev.py"
stages = [
    dict(
        name="prc",
        objectives=dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512)),
        expected_losses=[6.6564, 6.7909, 6.881, 6.6124, 6.6425],
    ),
    dict(
        name="rad",
        objectives=dict(rad=dict(type="RAD", num_points=512)),
        init=dict(stage="prc", heads={"rad.teacher_projector": "prc.projector"}),
        frozen=("lidar",),
        expected_losses=[6.289, 6.1685, 6.2005, 6.0097, 6.1748],
    ),
]
