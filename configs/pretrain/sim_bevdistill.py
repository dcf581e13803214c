# PRC, then BEVDistill instead of CALICO's second stage.
_base_ = "sim_calico.py"
stages = [
    dict(
        name="prc",
        objectives=dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512)),
        expected_losses=[6.2068, 5.9759, 5.728, 5.5783, 5.6389],
    ),
    dict(
        name="bevdistill",
        objectives=dict(bevdistill=dict(type="BEVDistill")),
        init=dict(stage="prc"),
        frozen=("lidar",),
        expected_losses=[47.369, 13.447, 8.2098, 4.2832, 4.0104],
    ),
]
