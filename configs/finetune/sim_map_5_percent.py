# Map segmentation with 5 % of the labels: one scene of the twenty of `bench`.
_base_ = "../_base_/sim_detection.py"
task = "map"
data = dict(fraction=5, map_grid=dict(x_min=-50.0, x_max=50.0, y_min=-50.0, y_max=50.0, cell=0.5))
head = dict(_delete_=True, hidden=32)
schedule = dict(iterations=600, warmup=0.2)
runtime = dict(precision="bfloat16")
