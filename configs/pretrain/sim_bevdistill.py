# PRC, then BEVDistill instead of CALICO's second stage.
_base_ = "sim_calico.py"
stages = [
    dict(
        name="prc",
        objectives=dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512)),
        expected_losses=[6.6564, 6.7909, 6.881, 6.6124, 6.6425],
    ),
    dict(
        name="bevdistill",
        objectives=dict(bevdistill=dict(type="BEVDistill")),
        init=dict(stage="prc"),
        frozen=("lidar",),
        expected_losses=[58.79, 18.103, 6.6104, 3.7589, 3.4923],
    ),
]
