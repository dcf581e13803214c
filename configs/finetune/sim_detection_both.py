# Detection from LiDAR and cameras with 5 % of the labels; `init.run=work_dirs/sim_calico` starts both.
_base_ = ["sim_detection_5_percent.py", "../_base_/sim_cameras.py"]
data = dict(image_size=(128, 256))
