# Detection from cameras alone with 5 % of the labels.
_base_ = "sim_detection_both.py"
lidar = None
