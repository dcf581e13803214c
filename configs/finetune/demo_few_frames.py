# Fine-tuning of `make demo`: few labelled frames of all drives, with the input columns of sim_distill.
_base_ = "sim_5_percent.py"
data = dict(features=("intensity", "statistics"), fraction=12.5, fraction_rule="nested")
lidar = dict(
    in_channels=17,
    column_scales=(1, 1, 1, 1, 2, 3, 5, 1, 10, 1, 1, 0.7, 0.5, 0.5, 3, 20, 20),
)
schedule = dict(iterations=150)
