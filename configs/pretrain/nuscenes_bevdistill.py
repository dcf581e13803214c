# PRC, then BEVDistill instead of CALICO's second stage.
_base_ = "../_base_/nuscenes_bev.py"
stages = [
    dict(name="prc", objectives=dict(prc=dict(type="PRC"))),
    dict(
        name="bevdistill",
        objectives=dict(bevdistill=dict(type="BEVDistill", smooth=0.6)),
        init=dict(stage="prc"),
        frozen=("lidar",),
    ),
]
