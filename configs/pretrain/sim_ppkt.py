# PPKT: contrast of single points and pixels.
_base_ = "../_base_/sim_images.py"
objectives = dict(ppkt=dict(type="PPKT", num_pairs=2048))
