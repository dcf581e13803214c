# OBoW for sweeps: half of a sector's points predict the visual words of the whole sector.
_base_ = "../_base_/sim.py"
objectives = dict(words=dict(type="BagOfWords", words=256, new_words=128))
expected_losses = [0.0, 6.32804, 6.24006, 3.83803, 3.2702]
