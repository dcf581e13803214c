# CALICO's first stage alone, on MinkUNet-34.
_base_ = "../_base_/nuscenes.py"
objectives = dict(prc=dict(type="PRC"))
optimizer = dict(lr=1e-4)
schedule = dict(epochs=20, warmup=0.2)
