# ScaLR: distillation of single pixels, without negatives.
_base_ = "../_base_/sim_images.py"
objectives = dict(scalr=dict(type="ScaLR"))
