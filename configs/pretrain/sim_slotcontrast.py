# SlotCon for points: soft groups by shared prototypes, distilled between views and contrasted.
_base_ = "../_base_/sim.py"
objectives = dict(slots=dict(type="SlotContrast", num_points=1024, prototypes=64))
expected_losses = [2.78623, 2.87644, 2.78818, 2.72785, 2.70636]
