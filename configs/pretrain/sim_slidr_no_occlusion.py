# SLidR without the occlusion filter of the point-pixel pairs.
_base_ = "sim_slidr.py"
data = dict(pairing=dict(occlusion=False))
expected_losses = [6.6112, 5.9583, 5.6703, 5.6589, 5.5822]
