# PRC, then BEVDistill instead of CALICO's second stage.
_base_ = "sim_calico.py"
stages = [
    dict(
        name="prc",
        objectives=dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512)),
        expected_losses=[6.7408, 6.5631, 6.5415, 6.4834, 6.4113],
    ),
    dict(
        name="bevdistill",
        objectives=dict(bevdistill=dict(type="BEVDistill")),
        init=dict(stage="prc"),
        frozen=("lidar",),
        expected_losses=[30.341, 8.4243, 4.0962, 2.739, 2.6559],
    ),
]
