# FAC on SECOND (the paper's detectors build on voxel networks); schedule and rate are our choice.
_base_ = "../_base_/nuscenes.py"
lidar = dict(_delete_=True, type="SECOND")
objectives = dict(fac=dict(type="FAC"))
optimizer = dict(lr=1e-3)
schedule = dict(epochs=20, warmup=0.2)
