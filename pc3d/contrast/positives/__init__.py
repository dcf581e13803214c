"""Policies that add positives."""
