"""A run on disk: checkpoints, what they belong to, the marker at the end, who may write, what ends a run."""
