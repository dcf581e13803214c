"""The settings of a config: which there are, what each may be, where each stands, how it is given as text."""
