"""Studies over worlds, seeds and starts, at equal steps or equal seconds: what did pretraining buy?

`description` says what is compared, `plan` makes the units of work of it, `schedule` runs those that have no
result yet, and `publish` makes the tables.
"""
