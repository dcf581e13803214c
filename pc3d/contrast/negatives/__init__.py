"""Policies that weigh negatives, leave some out, or add synthetic ones."""
