# Detection with all labels of `bench` by a TransFusion head.
_base_ = "sim_detection.py"
head = dict(
    _delete_=True,
    type="TransFusionHead",
    queries=150,
    channels=48,
    heads=4,
    feedforward=96,
    head_channels=32,
)
