# Detection with all labels of `bench`.
_base_ = "../_base_/sim_detection.py"
schedule = dict(iterations=3000, warmup=0.2)
