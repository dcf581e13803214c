# PRC, then BEVDistill instead of CALICO's second stage.
_base_ = "sim_calico.py"
stages = [
    dict(
        name="prc",
        objectives=dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512)),
    ),
    dict(
        name="bevdistill",
        objectives=dict(bevdistill=dict(type="BEVDistill")),
        init=dict(stage="prc"),
        frozen=("lidar",),
    ),
]
