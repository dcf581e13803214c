# Linear probe: the backbone and its batch-norm statistics frozen, all labels.
_base_ = "../_base_/sim.py"
head = dict(head="linear", freeze=True, lovasz_weight=1.0)
optimizer = dict(lr=1e-2, weight_decay=0.0)
schedule = dict(iterations=200, warmup=0.1)
