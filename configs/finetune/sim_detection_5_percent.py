# Detection with 5 % of the labels: one scene of the twenty of `bench`.
_base_ = "../_base_/sim_detection.py"
data = dict(fraction=5)
schedule = dict(iterations=600, warmup=0.2)
runtime = dict(precision="bfloat16")
