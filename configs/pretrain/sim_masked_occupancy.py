# Masked neighbourhood occupancy: what is around the cells that the mask leaves; no images, no labels.
_base_ = "../_base_/sim.py"
objectives = dict(occupancy=dict(type="MaskedOccupancy", kernel=5, empties=3, occupied=1024))
expected_losses = [0.51369, 0.48688, 0.53698, 0.49434, 0.48573]
