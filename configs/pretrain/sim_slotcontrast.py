# SlotCon for points: soft groups by shared prototypes, distilled between views and contrasted.
_base_ = "../_base_/sim.py"
objectives = dict(slots=dict(type="SlotContrast", num_points=1024, prototypes=64))
expected_losses = [2.78653, 2.90551, 2.79989, 2.74033, 2.72129]
