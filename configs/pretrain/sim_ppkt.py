# PPKT: contrast of single points and pixels.
_base_ = "../_base_/sim_images.py"
objectives = dict(ppkt=dict(type="PPKT", num_pairs=2048))
expected_losses = [9.1692, 8.3701, 7.8724, 7.9145, 7.7535]
