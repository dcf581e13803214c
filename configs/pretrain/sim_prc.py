# CALICO's first stage alone: point-region contrast between two augmented views.
_base_ = "../_base_/sim.py"
data = dict(regions="data/sim-regions")
objectives = dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512))
schedule = dict(epochs=2, warmup=0.2)
