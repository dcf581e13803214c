"""Scores of data without an official evaluator: any classes, labels from the index, nothing of a devkit."""
