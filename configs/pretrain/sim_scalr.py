# ScaLR: distillation of single pixels, without negatives.
_base_ = "../_base_/sim_images.py"
objectives = dict(scalr=dict(type="ScaLR"))
expected_losses = [1.4224, 1.3743, 1.3396, 1.332, 1.331]
