"""How alike two rows are: temperatures, heads and gates."""
