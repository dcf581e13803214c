# CALICO's first stage on nuScenes: PRC with the numbers that reviews of the paper report.
_base_ = "../_base_/nuscenes.py"
data = dict(regions="data/nuscenes-regions")
objectives = dict(prc=dict(type="PRC"))
optimizer = dict(lr=1e-4)
schedule = dict(epochs=20, warmup=0.2)
