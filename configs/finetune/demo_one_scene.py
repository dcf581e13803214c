# Fine-tuning of the demo: the first of its eight scenes has labels.
_base_ = "sim_5_percent.py"
data = dict(fraction=12.5)
schedule = dict(iterations=120)
